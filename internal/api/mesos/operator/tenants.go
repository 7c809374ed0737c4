package operator

import (
	"math"
	"net/http"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/util/retry"

	"trireme/internal/api/caller"
	"trireme/internal/kind"
	"trireme/internal/mesos/codec"
	mesosres "trireme/internal/mesos/resource"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/master"
	"trireme/internal/mesos/v1/quota"
	"trireme/internal/object/mesos"
	"trireme/internal/object/tenant"
	"trireme/internal/tables"
)

// tenants yields the Tenants that the caller may see by the roles that they are.
func (v *view) tenants(yield func(string, *tenant.Tenant) bool) {
	for t := range tables.Tenants(v.snap) {
		if v.tenant(t.Name) && !yield(tables.TenantPath(v.snap, t.Name), t) {
			return
		}
	}
}

// weights are those that somebody gave.
func (v *view) weights() map[string]float64 {
	all := map[string]float64{}
	for role, t := range v.tenants {
		if t.Spec.Weight > 0 {
			all[role] = t.Spec.Weight
		}
	}
	return all
}

// quotas are guarantees and limits by role; roles without are not there.
func (v *view) quotas() map[string]*quota.QuotaConfig {
	all := map[string]*quota.QuotaConfig{}
	for role, t := range v.tenants {
		if len(t.Spec.Guarantee)+len(t.Spec.Limit) > 0 {
			all[role] = &quota.QuotaConfig{Role: &role, Guarantees: scalars(t.Spec.Guarantee), Limits: scalars(t.Spec.Limit)}
		}
	}
	return all
}

// scalars are amounts of Kubernetes' by Mesos' names.
func scalars(l corev1.ResourceList) map[string]*mesosv1.Value_Scalar {
	out := map[string]*mesosv1.Value_Scalar{}
	for name, q := range l {
		none := q.IsZero()
		if none { // Capacity leaves out amounts of nothing, which are bounds too
			q = *resource.NewQuantity(1<<30, resource.DecimalSI)
		}
		for _, r := range mesosres.Capacity(corev1.ResourceList{name: q}) {
			n := mesosres.Number(r.Scalar)
			if none {
				n = 0
			}
			out[r.Name] = &mesosv1.Value_Scalar{Value: &n}
		}
	}
	return out
}

func getWeights(v *view, _ *master.Call, out *master.Response) error {
	out.Type, out.GetWeights = master.Response_GET_WEIGHTS.Enum(), &master.Response_GetWeights{WeightInfos: v.weightInfos()}
	return nil
}

func (v *view) weightInfos() []*mesosv1.WeightInfo {
	all := []*mesosv1.WeightInfo{}
	weights := v.weights()
	for _, role := range sorted(weights) {
		all = append(all, &mesosv1.WeightInfo{Role: &role, Weight: proto.Float64(weights[role])})
	}
	return all
}

func showWeights(v *view, _ *http.Request) (any, error) { return raws(v.weightInfos()), nil }

func getQuota(v *view, _ *master.Call, out *master.Response) error {
	out.Type, out.GetQuota = master.Response_GET_QUOTA.Enum(), &master.Response_GetQuota{Status: v.quotaStatus()}
	return nil
}

func showQuota(v *view, _ *http.Request) (any, error) { return raw(v.quotaStatus()), nil }

func (v *view) quotaStatus() *quota.QuotaStatus {
	status := &quota.QuotaStatus{}
	all := v.quotas()
	for _, role := range sorted(all) {
		info := &quota.QuotaInfo{Role: &role}
		for _, name := range sorted(all[role].Guarantees) {
			info.Guarantee = append(info.Guarantee, &mesosv1.Resource{Name: &name, Type: mesosv1.Value_SCALAR.Enum(), Scalar: all[role].Guarantees[name]})
		}
		status.Infos, status.Configs = append(status.Infos, info), append(status.Configs, all[role])
	}
	return status
}

// changeTenant applies change to the Tenant that a role is, which it makes where there
// is none; with dry, it is only seen whether that would do.
func (r *Request) changeTenant(role string, dry bool, change func(*tenant.Spec)) error {
	client, err := r.custom(tenant.Tenants)
	if err != nil {
		return err
	}
	var run []string
	if dry {
		run = []string{metav1.DryRunAll}
	}
	name := mesos.Namespace(role)
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		t := &tenant.Tenant{}
		u, err := client.Get(r.Context(), name, metav1.GetOptions{})
		fresh := apierrors.IsNotFound(err)
		switch {
		case fresh:
			t.Name = name
			if role != name && role != mesos.Everyone {
				t.Spec.Path = role
			}
		case err != nil:
			return err
		default:
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, t); err != nil {
				return err
			}
		}
		change(&t.Spec)
		t.SetGroupVersionKind(tenant.Kind)
		object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(t)
		if err != nil {
			return err
		}
		u = &unstructured.Unstructured{Object: object}
		if fresh {
			_, err = client.Create(r.Context(), u, metav1.CreateOptions{DryRun: run})
		} else {
			_, err = client.Update(r.Context(), u, metav1.UpdateOptions{DryRun: run})
		}
		return err
	})
	return caller.FromKubernetes(err)
}

// changeTenants changes all roles, or none where one cannot be changed.
func (r *Request) changeTenants(roles []string, change func(int, *tenant.Spec)) error {
	for _, dry := range []bool{true, false} {
		for i, role := range roles {
			if dry && len(roles) == 1 {
				continue
			}
			if err := r.changeTenant(role, dry, func(s *tenant.Spec) { change(i, s) }); err != nil {
				return err
			}
		}
	}
	return nil
}

func updateWeightsCall(_ *Server, r *Request, call *master.Call) error {
	infos := call.GetUpdateWeights().GetWeightInfos()
	var roles []string
	for i, info := range infos {
		if err := mesosres.CheckRole(info.GetRole()); err != nil {
			return kind.New(kind.Invalid, "weight_infos[%d].role: %w", i, err)
		}
		if w := info.GetWeight(); !(w > 0) || math.IsInf(w, 0) {
			return kind.New(kind.Invalid, "weight_infos[%d].weight: %g for role %q is not above 0", i, w, info.GetRole())
		}
		roles = append(roles, info.GetRole())
	}
	return r.changeTenants(roles, func(i int, s *tenant.Spec) { s.Weight = infos[i].GetWeight() })
}

// bounds are what a quota is as a Tenant has it.
type bounds struct{ guarantee, limit corev1.ResourceList }

func updateQuotaCall(s *Server, r *Request, call *master.Call) error {
	c := call.GetUpdateQuota()
	v := s.look(r)
	var roles []string
	var all []bounds
	now := v.quotas()
	for i, q := range c.GetQuotaConfigs() {
		b, err := checkQuota(q)
		if err != nil {
			return kind.New(kind.Invalid, "quota_configs[%d]: %w", i, err)
		}
		if !c.GetForce() {
			if err := v.fits(q); err != nil {
				return err
			}
		}
		now[q.GetRole()] = q
		roles, all = append(roles, q.GetRole()), append(all, b)
	}
	if !c.GetForce() {
		if err := v.fitTogether(now); err != nil {
			return err
		}
	}
	return r.changeTenants(roles, func(i int, s *tenant.Spec) { s.Guarantee, s.Limit = all[i].guarantee, all[i].limit })
}

// checkQuota checks one config by itself.
func checkQuota(q *quota.QuotaConfig) (b bounds, err error) {
	role := q.GetRole()
	switch err := mesosres.CheckRole(role); {
	case err != nil:
		return b, kind.New(kind.Invalid, "role: %w", err)
	case role == mesos.Everyone:
		return b, kind.New(kind.Invalid, "role: the role * has no quota")
	case mesosres.Above(topOf(role), role):
		return b, kind.New(kind.Invalid, "role: %s is not at the top of the tree of roles: set the quota of %s", role, topOf(role))
	}
	for name, g := range q.GetGuarantees() {
		if l, ok := q.GetLimits()[name]; ok && g.GetValue() > l.GetValue() {
			return b, kind.New(kind.Invalid, "guarantees[%s]: %g is more than the limit %g", name, g.GetValue(), l.GetValue())
		}
	}
	if b.guarantee, err = amounts(q.GetGuarantees()); err != nil {
		return b, kind.New(kind.Invalid, "guarantees: %w", err)
	}
	if b.limit, err = amounts(q.GetLimits()); err != nil {
		return b, kind.New(kind.Invalid, "limits: %w", err)
	}
	return b, nil
}

func topOf(role string) string {
	for i := range len(role) {
		if role[i] == '/' {
			return role[:i]
		}
	}
	return role
}

// amounts are scalars as Kubernetes has them; one without bound is none.
func amounts(all map[string]*mesosv1.Value_Scalar) (corev1.ResourceList, error) {
	out := corev1.ResourceList{}
	for name, scalar := range all {
		if math.IsInf(scalar.GetValue(), 1) {
			continue
		}
		n, err := mesosres.Thousandths(scalar.GetValue())
		if err != nil {
			return nil, kind.New(kind.Invalid, "%s: %w", name, err)
		}
		if n < 0 {
			return nil, kind.New(kind.Invalid, "%s: %g is negative", name, scalar.GetValue())
		}
		// An amount of nothing is a bound too: its name is asked for with a whole one.
		list, err := mesosres.List{mesosres.Of(name, max(n, mesosres.Thousand))}.Requests()
		if err != nil {
			return nil, err
		}
		for k8s, q := range list {
			if n == 0 {
				q.Set(0)
			}
			out[k8s] = q
		}
	}
	return out, nil
}

// fits refuses a limit below what the role and those below it use and have reserved.
func (v *view) fits(q *quota.QuotaConfig) error {
	var used mesosres.List
	for _, r := range v.roles() {
		if r.name == q.GetRole() || mesosres.Above(q.GetRole(), r.name) {
			used = used.Plus(plain(r.used.Unreserved())).Plus(r.reserved.Plain())
		}
	}
	for name, limit := range q.GetLimits() {
		if has := mesosres.Number(used.Scalar(name)); has > limit.GetValue() {
			return kind.New(kind.Invalid, "Invalid quota configuration for role %s: limit of %s, %g, is below what it uses, %g (force sets it all the same)", q.GetRole(), name, limit.GetValue(), has)
		}
	}
	return nil
}

// fitTogether refuses guarantees that the cluster has not.
func (v *view) fitTogether(all map[string]*quota.QuotaConfig) error {
	var total mesosres.List
	for _, a := range v.agents {
		if a.reachable() {
			total = total.Plus(a.total)
		}
	}
	sum := map[string]float64{}
	for _, q := range all {
		for name, g := range q.GetGuarantees() {
			sum[name] += g.GetValue()
		}
	}
	for _, name := range sorted(sum) {
		if has := mesosres.Number(total.Scalar(name)); sum[name] > has {
			return kind.New(kind.Invalid, "Invalid quota configuration: guarantees of %s, %g in all, are more than the cluster has, %g (force sets them all the same)", name, sum[name], has)
		}
	}
	return nil
}

// setQuotaCall is the older way: one role, its guarantee also its limit.
func setQuotaCall(s *Server, r *Request, call *master.Call) error {
	request := call.GetSetQuota().GetQuotaRequest()
	amount, err := mesosres.From("guarantee", request.GetGuarantee())
	if err != nil {
		return err
	}
	q := &quota.QuotaConfig{Role: request.Role, Guarantees: map[string]*mesosv1.Value_Scalar{}}
	for _, one := range amount {
		if one.Kind != mesosres.Scalar || one.Reserved() || one.Volume != nil || one.Revocable {
			return kind.New(kind.Invalid, "guarantee: %s is no plain scalar", one)
		}
		q.Guarantees[one.Name] = &mesosv1.Value_Scalar{Value: proto.Float64(mesosres.Number(one.Scalar))}
	}
	q.Limits = q.Guarantees
	b, err := checkQuota(q)
	if err != nil {
		return err
	}
	v := s.look(r)
	now := v.quotas()
	if now[q.GetRole()] != nil {
		return codec.Refuse(http.StatusBadRequest, "Failed to validate set quota request: role %s has a quota already: UPDATE_QUOTA changes it", q.GetRole())
	}
	if now[q.GetRole()] = q; !request.GetForce() {
		if err := v.fitTogether(now); err != nil {
			return codec.Refuse(http.StatusConflict, "Heuristic capacity check for set quota request failed: %v", err)
		}
	}
	return r.changeTenant(q.GetRole(), false, func(s *tenant.Spec) { s.Guarantee, s.Limit = b.guarantee, b.limit })
}

func removeQuotaCall(s *Server, r *Request, call *master.Call) error {
	role := call.GetRemoveQuota().GetRole()
	if s.look(r).quotas()[role] == nil {
		return codec.Refuse(http.StatusBadRequest, "Failed to remove quota: role '%s' has no quota set", role)
	}
	return r.changeTenant(role, false, func(s *tenant.Spec) { s.Guarantee, s.Limit = nil, nil })
}
