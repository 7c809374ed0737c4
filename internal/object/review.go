package object

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// reviewMark is the annotation that marks a row as under review: a loop has made the
// object and admission has not seen it yet. It stands in the table only. Nobody can
// write it through a door, and no door shows an object that has it (decision 0007).
const reviewMark = "trireme.dev/under-review"

// UnderReview reports whether admission has yet to see the object.
func UnderReview(o metav1.Object) bool {
	_, marked := o.GetAnnotations()[reviewMark]
	return marked
}

// SetUnderReview marks o, or takes the mark away, and leaves the map of annotations
// as it is for those who share it.
func SetUnderReview(o metav1.Object, under bool) {
	if UnderReview(o) == under {
		return
	}
	old := o.GetAnnotations()
	next := make(map[string]string, len(old)+1)
	for k, v := range old {
		next[k] = v
	}
	if under {
		next[reviewMark] = "true"
	} else {
		delete(next, reviewMark)
	}
	if len(next) == 0 {
		next = nil
	}
	o.SetAnnotations(next)
}

// Refusal is what admission last said against the pods of an owner. It has the owner's
// namespace and is named after the owner's UID.
type Refusal struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Message           string      `json:"message"`
	Failures          int         `json:"failures"` // in a row
	Until             metav1.Time `json:"until"`    // no other pod is shown before
}

// DeepCopyObject is a method of runtime.Object.
func (r *Refusal) DeepCopyObject() runtime.Object {
	out := *r
	r.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	return &out
}
