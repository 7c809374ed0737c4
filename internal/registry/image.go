package registry

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/distribution/reference"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/tables"
)

// Images are served as this resource.
var Resource = schema.GroupVersionResource{Group: "trireme.dev", Version: "v1", Resource: "images"}

// ConditionReady says whether nodes can pull the image.
const ConditionReady = "Ready"

// Image is an image that the cluster holds for its nodes.
type Image struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              ImageSpec   `json:"spec"`
	Status            ImageStatus `json:"status,omitempty"`
}

// ImageSpec says what the image is called, what it is and who has it.
type ImageSpec struct {
	// Reference is the whole name: docker.io/library/web:1, not web:1.
	Reference string `json:"reference"`
	// Digest of the manifest or index, "sha256:…".
	Digest string `json:"digest"`
	// Source is the node that the image is copied from.
	Source string `json:"source"`
}

// ImageStatus is written by Registry.Run.
type ImageStatus struct {
	SizeBytes  int64              `json:"sizeBytes,omitempty"` // of all that was copied
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

//go:embed image.yaml
var definition []byte

// Definition returns the definition of the kind Image.
func Definition() (*apiextensionsv1.CustomResourceDefinition, error) {
	d := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(definition, d); err != nil {
		return nil, fmt.Errorf("reading the definition of images: %w", err)
	}
	apiextensionsv1.SetDefaults_CustomResourceDefinition(d)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&d.Spec)
	return d, nil
}

// Name returns the whole reference, and the name of the Image object for it.
// Names are readable, and no two references have the same.
func Name(ref string) (whole, name string, err error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return "", "", &kind.Error{Kind: kind.Invalid, Op: "reading image name", Object: ref, Err: err}
	}
	whole = named.String()
	sum := sha256.Sum256([]byte(whole))
	short := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(whole[strings.LastIndexByte(whole, '/')+1:]))
	short = strings.Trim(short[:min(len(short), 40)], "-")
	return whole, short + "-" + hex.EncodeToString(sum[:4]), nil
}

// keyOf returns where the Image of that name is in tables.CustomObjects.
func keyOf(name string) object.Key {
	return tables.CustomPlace{Group: Resource.Group, Plural: Resource.Resource, Key: object.Key{Name: name}}.CustomKey()
}

func decode(u *unstructured.Unstructured) (*Image, error) {
	i := &Image{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, i); err != nil {
		return nil, fmt.Errorf("reading image %s: %w", u.GetName(), err)
	}
	return i, nil
}
