package admission

import (
	"context"
	"fmt"

	registration "k8s.io/api/admissionregistration/v1"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"
	"k8s.io/client-go/kubernetes"

	"trireme/internal/api/kube/openapi"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// typeCheck keeps the status of validating policies until ctx ends: which of
// their expressions do not fit the types that they match (Kubernetes, "Validating
// Admission Policy", "Type checking"). It is a help to their author and changes
// nothing of what they do.
func (c *Chain) typeCheck(ctx context.Context, client kubernetes.Interface) error {
	for after := store.Rev(-1); ; {
		snap := c.cfg.Store.Snapshot()
		if rev := tables.ValidatingAdmissionPolicies.Rev(snap); rev != after {
			after = rev
			var checker *validating.TypeChecker // made where it is needed: it holds every type's description
			for p := range tables.ValidatingAdmissionPolicies.All(snap) {
				if p.Status.ObservedGeneration == p.Generation && p.Status.TypeChecking != nil {
					continue
				}
				if checker == nil {
					checker = c.typeChecker(client)
				}
				if err := c.putTypes(ctx, p, check(checker, p)); err != nil {
					return err
				}
			}
			continue
		}
		if err := c.changed(ctx, snap); err != nil {
			return err
		}
	}
}

func (c *Chain) typeChecker(client kubernetes.Interface) *validating.TypeChecker {
	return &validating.TypeChecker{
		SchemaResolver: resolver.NewDefinitionsSchemaResolver(openapi.GetOpenAPIDefinitions, c.cfg.Scheme).
			Combine(&resolver.ClientDiscoveryResolver{Discovery: client.Discovery()}),
		RestMapper: c.mapper,
	}
}

// changed waits for a write to the table of policies after the snapshot. It asks from
// the snapshot's revision: that of the table's last write may be older than its
// history, and a table that was never written would be looked at without a pause.
func (c *Chain) changed(ctx context.Context, snap *store.Snapshot) error {
	for range c.cfg.Store.Events(ctx, snap.TableRev(tables.ValidatingAdmissionPolicies), tables.ValidatingAdmissionPolicies) {
		break // a change, or too many to tell: look
	}
	return ctx.Err()
}

// check returns the warnings; a checker that panics on an odd schema only says
// so.
func check(checker *validating.TypeChecker, p *registration.ValidatingAdmissionPolicy) (warnings []registration.ExpressionWarning) {
	defer func() {
		if r := recover(); r != nil {
			warnings = []registration.ExpressionWarning{{FieldRef: "spec", Warning: fmt.Sprintf("the types could not be checked: %v", r)}}
		}
	}()
	return checker.Check(p)
}

// putTypes writes the outcome, unless the policy changed meanwhile.
func (c *Chain) putTypes(ctx context.Context, p *registration.ValidatingAdmissionPolicy, warnings []registration.ExpressionWarning) error {
	_, err := c.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		now, ok := tables.ValidatingAdmissionPolicies.Get(tx, object.Key{Name: p.Name})
		if !ok || now.UID != p.UID || now.Generation != p.Generation {
			return nil
		}
		next := now.DeepCopy()
		next.Status.ObservedGeneration = p.Generation
		next.Status.TypeChecking = &registration.TypeChecking{ExpressionWarnings: warnings}
		tables.ValidatingAdmissionPolicies.Put(tx, next)
		return nil
	})
	return err
}
