package status

import (
	"errors"
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"trireme/internal/kind"
)

// TestStatusOfEveryKind checks that no kind of error is without its status, and
// that client libraries read back the reason the door meant.
func TestStatusOfEveryKind(t *testing.T) {
	for _, k := range kind.All() {
		err := fmt.Errorf("writing: %w", &kind.Error{Kind: k, Object: "web", Field: "spec.x", Err: errors.New("cause")})
		var st apierrors.APIStatus
		if !errors.As(Of(err), &st) {
			t.Errorf("%v: no status", k)
			continue
		}
		s := st.Status()
		if s.Code < 400 || s.Code > 599 || s.Reason == "" || s.Message != err.Error() {
			t.Errorf("%v: %+v", k, s)
		}
		if got := apierrors.ReasonForError(Of(err)); got != statuses[k].reason {
			t.Errorf("%v: reason %q, want %q", k, got, statuses[k].reason)
		}
		if s.Details == nil || len(s.Details.Causes) != 1 || s.Details.Causes[0].Field != "spec.x" {
			t.Errorf("%v: the field is lost: %+v", k, s.Details)
		}
	}
	if plain := errors.New("plain"); Of(plain) != plain || Of(nil) != nil {
		t.Error("an unclassified error must pass as it is")
	}
}
