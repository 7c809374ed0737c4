package clusterrole

import (
	"fmt"
	"slices"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"trireme/internal/loop"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Loop is the control loop of aggregated cluster roles. It holds nothing: roles
// are few, and a change of one may concern any that is made of others.
type Loop struct{}

// New returns the loop.
func New() *Loop { return &Loop{} }

var _ loop.Reconciler = (*Loop)(nil)

// The methods of loop.Reconciler.

func (*Loop) Name() string { return "orchestrate/clusterrole" }

func (*Loop) Reads() []store.TableID { return []store.TableID{tables.ClusterRoles.ID()} }

func (l *Loop) Writes() []store.TableID { return l.Reads() }

func (l *Loop) Reconcile(tx *store.Tx) (next time.Time, err error) {
	for range tables.ClusterRoles.Changed(tx) {
		return next, l.aggregate(tx)
	}
	return next, nil
}

func (l *Loop) aggregate(tx *store.Tx) error {
	all := slices.Collect(tables.ClusterRoles.All(tx))
	for _, role := range all {
		if role.AggregationRule == nil {
			continue
		}
		rules, err := union(all, role)
		if err != nil {
			return fmt.Errorf("aggregating cluster role %s: %w", role.Name, err)
		}
		if equality.Semantic.DeepEqual(rules, role.Rules) {
			continue
		}
		next := role.DeepCopy()
		next.Rules = rules
		tables.ClusterRoles.Put(tx, next)
		all[slices.Index(all, role)], _ = tables.ClusterRoles.Get(tx, object.KeyOf(role))
	}
	return nil
}

// union returns the rules of the roles that the role's selectors pick.
func union(all []*rbacv1.ClusterRole, role *rbacv1.ClusterRole) (rules []rbacv1.PolicyRule, err error) {
	for i := range role.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			return nil, err
		}
		for _, other := range all {
			if other.Name == role.Name || !selector.Matches(labels.Set(other.Labels)) {
				continue
			}
			for _, r := range other.Rules {
				if !slices.ContainsFunc(rules, func(have rbacv1.PolicyRule) bool { return equality.Semantic.DeepEqual(have, r) }) {
					rules = append(rules, *r.DeepCopy())
				}
			}
		}
	}
	return rules, nil
}
