package admission

import (
	"k8s.io/apiserver/pkg/admission"

	"trireme/internal/store"
)

// New returns the chain that every writing request passes.
func New(s *store.Store) admission.Interface {
	return admission.NewChainHandler(rules{s})
}
