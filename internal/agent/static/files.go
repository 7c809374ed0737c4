package static

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"trireme/internal/object"
	"trireme/internal/object/defaults"
	"trireme/internal/object/validate"
)

// read returns the pods of the directory's files, and what is wrong with the
// others. A directory that is not there has none.
func read(dir, node string) (map[object.Key]*corev1.Pod, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("reading static pods: %w", err)
	}
	out := map[object.Key]*corev1.Pod{}
	var errs []error
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		info, err := os.Stat(path) // through links
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		p, err := readFile(path, node, info.ModTime())
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("static pod %s: %w", path, err))
		case out[object.KeyOf(p)] != nil:
			errs = append(errs, fmt.Errorf("static pod %s: another file has a pod of the name %s already: give one of them another metadata.name", path, object.KeyOf(p)))
		default:
			out[object.KeyOf(p)] = p
		}
	}
	return out, errors.Join(errs...)
}

// fileMax bounds a manifest, as the API bounds a request.
const fileMax = 3 << 20

func readFile(path, node string, seen time.Time) (*corev1.Pod, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > fileMax {
		return nil, fmt.Errorf("it has %d bytes, more than the %d that a pod may have", info.Size(), fileMax)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p := &corev1.Pod{}
	if err := yaml.UnmarshalStrict(b, p); err != nil {
		return nil, err
	}
	switch {
	case p.Kind != "Pod" || p.APIVersion != "v1":
		return nil, fmt.Errorf("it is %s %s, not a v1 Pod", p.APIVersion, p.Kind)
	case p.Name == "":
		return nil, fmt.Errorf("metadata.name: Required value")
	case p.Spec.NodeName != "" && p.Spec.NodeName != node:
		return nil, fmt.Errorf("spec.nodeName: %q is another node than this one, %q", p.Spec.NodeName, node)
	}
	complete(p, node, hash(node, path, b))
	p.Annotations["kubernetes.io/config.seen"] = seen.UTC().Format(time.RFC3339Nano)
	if err := object.StaticRefers(p); err != nil {
		return nil, err
	}
	if errs := validate.PodSpec(&p.Spec, field.NewPath("spec")); len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	return p, nil
}

// hash tells versions of a manifest, files and nodes apart.
func hash(node, path string, content []byte) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n", node, path)
	h.Write(content)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// complete fills in what the API would.
func complete(p *corev1.Pod, node, hash string) {
	p.TypeMeta = metav1.TypeMeta{}
	p.Name += "-" + node
	if p.Namespace == "" {
		p.Namespace = metav1.NamespaceDefault
	}
	p.UID, p.Generation, p.ResourceVersion, p.Finalizers, p.OwnerReferences = types.UID(hash), 1, "", nil, nil
	annotations := map[string]string{}
	for k, v := range p.Annotations {
		annotations[k] = v
	}
	annotations[object.StaticSource], annotations[object.StaticHash] = "file", hash
	p.Annotations = annotations
	p.Spec.NodeName = node
	p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute})
	defaults.Pod(p)
	if p.Spec.Priority == nil {
		n := classes[p.Spec.PriorityClassName]
		p.Spec.Priority = &n
	}
	p.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: object.QOS(p)}
}

// classes are the priorities that are the same in every cluster (Kubernetes,
// "Guaranteed Scheduling For Critical Add-On Pods").
var classes = map[string]int32{"system-cluster-critical": object.CriticalPriority, "system-node-critical": object.CriticalPriority + 1000}

// fingerprint changes when a file of the directory does.
func fingerprint(dir string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err.Error()
	}
	b := &strings.Builder{}
	for _, e := range entries {
		if info, err := os.Stat(filepath.Join(dir, e.Name())); err == nil {
			fmt.Fprintf(b, "%s %d %d\n", e.Name(), info.Size(), info.ModTime().UnixNano())
		}
	}
	return b.String()
}
