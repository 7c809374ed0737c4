// Package definition is how kinds are installed that others define and install too
// (decision 0009): as their makers have them, with a mark by which we know whether
// somebody else wrote them since, whose they then are.
//
// A Pack is the file that hack/crds writes. It is not for our own kinds, which have one
// maker.
package definition

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// mark is the annotation that says what Pack.Release said when we wrote the definition.
const mark = "trireme.dev/bundle-version"

// Pack is the definitions of a group of kinds.
type Pack struct {
	Name       string // for errors
	Compressed []byte
	// Release says which one a definition is, the same for the same one always.
	Release func(*apiextensionsv1.CustomResourceDefinition) string
}

// Definitions returns the definitions as they are to be written, in the order of the file.
func (p Pack) Definitions() ([]*apiextensionsv1.CustomResourceDefinition, error) {
	z, err := gzip.NewReader(bytes.NewReader(p.Compressed))
	if err != nil {
		return nil, fmt.Errorf("reading the definitions of %s: %w", p.Name, err)
	}
	var all []*apiextensionsv1.CustomResourceDefinition
	for dec := json.NewDecoder(z); ; {
		d := &apiextensionsv1.CustomResourceDefinition{}
		if err := dec.Decode(d); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("reading the definitions of %s: %w", p.Name, err)
		}
		d.ManagedFields = owned()
		d.Status = apiextensionsv1.CustomResourceDefinitionStatus{}
		apiextensionsv1.SetDefaults_CustomResourceDefinition(d)
		apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&d.Spec)
		metav1.SetMetaDataAnnotation(&d.ObjectMeta, mark, p.Release(d))
		all = append(all, d)
	}
}

// owned says that of a definition our mark alone is ours: who applies another release over
// ours, also with --server-side, then finds no conflict.
func owned() []metav1.ManagedFieldsEntry {
	return []metav1.ManagedFieldsEntry{{
		Manager: "trireme", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: apiextensionsv1.SchemeGroupVersion.String(),
		FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:metadata":{"f:annotations":{"f:` + mark + `":{}}}}`)},
	}}
}

// Keeps reports whether a definition that is there is to stay as it is: somebody else
// installed it, whichever release it is of.
func (p Pack) Keeps(d *apiextensionsv1.CustomResourceDefinition) bool {
	return d.Annotations[mark] == "" || d.Annotations[mark] != p.Release(d)
}
