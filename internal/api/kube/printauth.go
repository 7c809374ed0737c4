package kube

import (
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
)

func roleCells(o runtime.Object) []any {
	return []any{o.(metav1.Object).GetCreationTimestamp().UTC().Format(time.RFC3339)}
}

func bindingCells(o runtime.Object) []any {
	var ref rbacv1.RoleRef
	var subjects []rbacv1.Subject
	switch b := o.(type) {
	case *rbacv1.RoleBinding:
		ref, subjects = b.RoleRef, b.Subjects
	case *rbacv1.ClusterRoleBinding:
		ref, subjects = b.RoleRef, b.Subjects
	}
	var users, groups, accounts []string
	for _, s := range subjects {
		switch s.Kind {
		case rbacv1.UserKind:
			users = append(users, s.Name)
		case rbacv1.GroupKind:
			groups = append(groups, s.Name)
		case rbacv1.ServiceAccountKind:
			accounts = append(accounts, s.Namespace+"/"+s.Name)
		}
	}
	return []any{ref.Kind + "/" + ref.Name, age(o.(metav1.Object)), strings.Join(users, ", "), strings.Join(groups, ", "), strings.Join(accounts, ", ")}
}

func requestCells(o runtime.Object) []any {
	r := o.(*certificatesv1.CertificateSigningRequest)
	lasts := "<none>"
	if s := r.Spec.ExpirationSeconds; s != nil {
		lasts = duration.HumanDuration(time.Duration(*s) * time.Second)
	}
	var state []string
	for _, c := range r.Status.Conditions {
		state = append(state, string(c.Type))
	}
	if len(state) == 0 {
		state = []string{"Pending"}
	}
	if len(r.Status.Certificate) > 0 {
		state = append(state, "Issued")
	}
	return []any{age(r), or(r.Spec.SignerName, "<none>"), r.Spec.Username, lasts, strings.Join(state, ",")}
}

func flowCells(o runtime.Object) []any {
	f := o.(*flowcontrolv1.FlowSchema)
	by, missing := "<none>", "?"
	if d := f.Spec.DistinguisherMethod; d != nil {
		by = string(d.Type)
	}
	for _, c := range f.Status.Conditions {
		if c.Type == flowcontrolv1.FlowSchemaConditionDangling {
			missing = string(c.Status)
		}
	}
	return []any{f.Spec.PriorityLevelConfiguration.Name, int64(f.Spec.MatchingPrecedence), by, age(f), missing}
}

func levelCells(o runtime.Object) []any {
	l := o.(*flowcontrolv1.PriorityLevelConfiguration)
	var shares, queues, hand, length any = "<none>", "<none>", "<none>", "<none>"
	if limited := l.Spec.Limited; limited != nil {
		if s := limited.NominalConcurrencyShares; s != nil {
			shares = *s
		}
		if q := limited.LimitResponse.Queuing; q != nil {
			queues, hand, length = q.Queues, q.HandSize, q.QueueLengthLimit
		}
	}
	return []any{string(l.Spec.Type), shares, queues, hand, length, age(l)}
}
