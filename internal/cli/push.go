package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"trireme/internal/registry"
)

func (a *app) pushCommand() *cobra.Command {
	from, timeout := "", time.Duration(0)
	c := &cobra.Command{
		Use:   "push IMAGE|ARCHIVE",
		Short: "Make every node, now and later, find an image that one node, this machine's docker or a file has",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return a.push(ctx, args[0], from)
		},
	}
	c.Flags().StringVar(&from, "from", "", "the node that has it (default: the first that does)")
	c.Flags().DurationVar(&timeout, "timeout", 15*time.Minute, "how long to wait")
	return c
}

func (a *app) push(ctx context.Context, what, from string) error {
	config, _, err := a.clientConfig()
	if err != nil {
		return err
	}
	cs, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	nodes, err := a.reachable(ctx, cs, from)
	if err != nil {
		return err
	}
	p := newProgress(a.err)
	defer p.Done()
	refs := []string{what}
	if isFile(what) {
		p.say("importing %s on %s", what, nodes[0])
		if refs, err = a.importOn(ctx, config, nodes[0], what); err != nil {
			return fmt.Errorf("importing %s on %s: %w", what, nodes[0], err)
		}
		nodes = nodes[:1]
	}
	images, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	for _, ref := range refs {
		whole, _, err := registry.Name(ref)
		if err != nil {
			return err
		}
		node, desc, err := a.holder(ctx, cs, nodes, whole)
		if err != nil {
			return err
		}
		p.say("copying %s from %s", whole, node)
		image, err := registry.Give(ctx, images, registry.ImageSpec{Reference: whole, Digest: string(desc.Digest), Source: node}, nil)
		if err != nil {
			return fmt.Errorf("pushing %s: %w", whole, err)
		}
		fmt.Fprintf(a.out, "%s: %s, %s: every node finds it\n", whole, desc.Digest, size(image.Status.SizeBytes))
	}
	return nil
}

func isFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular()
}

// holder returns a node that has the image; where none does, the machine's docker
// is asked for it.
func (a *app) holder(ctx context.Context, cs kubernetes.Interface, nodes []string, whole string) (string, ocispec.Descriptor, error) {
	for _, node := range nodes {
		d, err := descriptorOn(ctx, cs, node, whole)
		if err == nil {
			return node, d, nil
		}
		if !apierrors.IsNotFound(err) {
			return "", d, fmt.Errorf("asking %s for %s: %w", node, whole, err)
		}
	}
	none := fmt.Errorf("no node has %s: `trireme image push FILE` takes it from a file that docker save or buildah push wrote; `trireme image ls` lists what is there", whole)
	body, err := dockerSave(ctx, whole)
	if err != nil {
		return "", ocispec.Descriptor{}, fmt.Errorf("%w (docker on this machine: %w)", none, err)
	}
	if body == nil {
		return "", ocispec.Descriptor{}, none
	}
	defer body.Close()
	fmt.Fprintf(a.err, "taking %s from docker to %s\n", whole, nodes[0])
	config, _, err := a.clientConfig()
	if err != nil {
		return "", ocispec.Descriptor{}, err
	}
	if _, err := a.importFrom(ctx, config, nodes[0], body); err != nil {
		return "", ocispec.Descriptor{}, fmt.Errorf("importing %s on %s: %w", whole, nodes[0], err)
	}
	d, err := descriptorOn(ctx, cs, nodes[0], whole)
	return nodes[0], d, err
}

// descriptorOn asks a node's agent what it has under a whole reference.
func descriptorOn(ctx context.Context, cs kubernetes.Interface, node, whole string) (d ocispec.Descriptor, err error) {
	b, err := cs.CoreV1().RESTClient().Get().Resource("nodes").Name(node).SubResource("proxy").
		Suffix("images", "descriptor").Param("ref", whole).DoRaw(ctx)
	if err != nil {
		return d, err
	}
	return d, json.Unmarshal(b, &d)
}

// dockerSave opens what `docker save` would write of an image of this machine's
// docker (Docker Engine API, "Export an image"). Nil without an error: there is no
// docker here, or it has no such image.
func dockerSave(ctx context.Context, whole string) (io.ReadCloser, error) {
	socket := "/var/run/docker.sock"
	if h := os.Getenv("DOCKER_HOST"); h != "" {
		path, ok := strings.CutPrefix(h, "unix://")
		if !ok {
			return nil, nil
		}
		socket = path
	}
	if _, err := os.Stat(socket); err != nil {
		return nil, nil
	}
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/images/"+url.PathEscape(whole)+"/get", nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return resp.Body, nil
	case http.StatusNotFound:
		return nil, resp.Body.Close()
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // what can be read of it is enough
	return nil, fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(said)))
}

func (a *app) imageRmCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rm IMAGE",
		Short: "Take back what push gave: nodes that have the image keep it, others find it no more",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			whole, name, err := registry.Name(args[0])
			if err != nil {
				return err
			}
			client, err := a.dynamicClient()
			if err != nil {
				return err
			}
			err = client.Resource(registry.Resource).Delete(cmd.Context(), name, metav1.DeleteOptions{})
			if apierrors.IsNotFound(err) {
				return fmt.Errorf("the cluster holds no image %s: `kubectl get images` lists what it does", whole)
			}
			if err == nil {
				fmt.Fprintf(a.out, "%s removed\n", whole)
			}
			return err
		},
	}
}
