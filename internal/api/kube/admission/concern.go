package admission

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apiserver/pkg/admission"

	"trireme/internal/policy"
	"trireme/internal/store"
)

// concerns knows which requests a webhook or policy may concern.
type concerns struct {
	store *store.Store
	hooks policy.Hooks
}

func (c *concerns) of(a admission.Attributes, s policy.HookSource) bool {
	return c.matches(a.GetResource().Resource, a.GetSubresource(), a.GetOperation(), s)
}

func (c *concerns) matches(resource, subresource string, op admission.Operation, s policy.HookSource) bool {
	return c.hooks.Match(c.store.Head(), s, resource, subresource, admissionv1.OperationType(op))
}
