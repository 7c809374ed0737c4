package images

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/api/docker/engine"
	"trireme/internal/registry"
	"trireme/internal/tables"
)

// loadedLabel is on Images that docker's clients brought to the manager's machine: they go
// with the name there.
const loadedLabel = "docker.trireme.dev/loaded"

// shareMax is how long the copying of an image may take.
const shareMax = 10 * time.Minute

// share has every node find an image of this machine, by its whole name, where there are
// others.
func (c *call) share(name string) error {
	others := false
	for n := range tables.Nodes.All(c.All) {
		others = others || n.Name != c.door.node
	}
	if !others {
		return nil
	}
	b, err := c.agent("GET", c.door.node, "images/descriptor").Param("ref", name).DoRaw(c.Context())
	if err != nil {
		return fromAgent(err)
	}
	var d ocispec.Descriptor
	if err := json.Unmarshal(b, &d); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context(), shareMax)
	defer cancel()
	_, err = registry.Give(ctx, c.Custom, registry.ImageSpec{Reference: name, Digest: string(d.Digest), Source: c.door.node}, map[string]string{loadedLabel: "true"})
	if err != nil {
		return fmt.Errorf("giving %s to the other nodes: %w", familiar(name), engine.FromKubernetes(err))
	}
	return nil
}

// shared returns the name of the Image of a whole name that a client of docker's brought;
// empty: there is none that the caller sees.
func (c *call) shared(ref string) string {
	_, name, err := registry.Name(ref)
	if err != nil {
		return ""
	}
	u, err := c.Custom.Resource(registry.Resource).Get(c.Context(), name, metav1.GetOptions{})
	if err != nil || u.GetLabels()[loadedLabel] == "" {
		return ""
	}
	return name
}

func (c *call) sharedAny(refs []string) bool {
	for _, ref := range refs {
		if c.shared(ref) != "" {
			return true
		}
	}
	return false
}

// unshare takes back what share gave under the names, which are apart by spaces.
func (c *call) unshare(names string) error {
	for ref := range strings.FieldsSeq(names) {
		name := c.shared(ref)
		if name == "" {
			continue
		}
		err := c.Custom.Resource(registry.Resource).Delete(c.Context(), name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return engine.FromKubernetes(err)
		}
	}
	return nil
}
