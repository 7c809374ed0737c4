package deployment

import (
	"fmt"
	"hash/fnv"
	"maps"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	clusterpolicy "trireme/internal/policy"
	"trireme/internal/rollout"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

// The annotations that kubectl and other clients read.
const (
	revisionAnnotation = "deployment.kubernetes.io/revision"
	historyAnnotation  = "deployment.kubernetes.io/revision-history"
	desiredAnnotation  = "deployment.kubernetes.io/desired-replicas"
	maxAnnotation      = "deployment.kubernetes.io/max-replicas"
)

// notCopied are annotations that a set does not take from its deployment.
var notCopied = map[string]bool{
	corev1.LastAppliedConfigAnnotation: true, revisionAnnotation: true, historyAnnotation: true,
	desiredAnnotation: true, maxAnnotation: true, appsv1.DeprecatedRollbackTo: true,
}

func numberOf(o metav1.Object, annotation string) (int64, bool) {
	n, err := strconv.ParseInt(o.GetAnnotations()[annotation], 10, 64)
	return n, err == nil
}

func revisionOf(o metav1.Object) int64 {
	n, _ := numberOf(o, revisionAnnotation)
	return n
}

// freshen makes sure that the present template has a set, the newest revision,
// and reports whether it has; false: a name was taken and the next step tries
// another, or a quota refuses the set.
func (s *step) freshen() bool {
	if s.fresh != nil {
		if s.condition == nil && s.d.Spec.ProgressDeadlineSeconds != nil {
			s.progress(corev1.ConditionTrue, reasonFound, fmt.Sprintf("Found new replica set %q", s.fresh.Name))
		}
		return true
	}
	hash := s.hash()
	name := s.d.Name + "-" + hash
	if _, ok := tables.ReplicaSets.Row(s.tx, object.Key{Namespace: s.d.Namespace, Name: name}); ok {
		// Another template has this hash: count a collision and try the next name.
		n := int32(1)
		if s.collisions != nil {
			n += *s.collisions
		}
		s.collisions = &n
		return false
	}
	rs := s.newSet(name, hash)
	if err := clusterpolicy.AllowNew(s.tx, tables.ReplicaSets, rs); err != nil {
		s.refuse(name, err)
		return false
	}
	tables.ReplicaSets.Put(s.tx, rs)
	s.sets, s.fresh = append(s.sets, rs), rs
	if s.d.Spec.ProgressDeadlineSeconds != nil {
		s.progress(corev1.ConditionTrue, reasonCreated, fmt.Sprintf("Created new replica set %q", name))
	}
	return true
}

// refuse says that the set of the present template may not be made.
func (s *step) refuse(name string, err error) {
	s.refused, s.next = true, s.tx.Now().Add(retryRefused)
	message := fmt.Sprintf("Failed to create new replica set %q: %v", name, err)
	tell.Once(s.tx, tables.Deployments, s.d, tell.Event{From: "deployment-controller", Type: corev1.EventTypeWarning, Reason: reasonRefused, Message: message})
	if c := s.condition; s.d.Spec.ProgressDeadlineSeconds != nil && (c == nil || c.Reason != reasonRefused || c.Message != message) {
		s.progress(corev1.ConditionFalse, reasonRefused, message)
	}
}

func (s *step) hash() string {
	hash := object.TemplateHash(&s.d.Spec.Template)
	if s.collisions != nil {
		h := fnv.New32a()
		fmt.Fprintf(h, "%s %d", hash, *s.collisions)
		hash = strconv.FormatUint(uint64(h.Sum32()), 36)
	}
	return hash
}

func (s *step) newSet(name, hash string) *appsv1.ReplicaSet {
	d := s.d.DeepCopy()
	d.Spec.Template.Labels = with(d.Spec.Template.Labels, hash)
	selector := d.Spec.Selector
	selector.MatchLabels = with(selector.MatchLabels, hash)
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: d.Namespace, Generation: 1, Labels: maps.Clone(d.Spec.Template.Labels),
			OwnerReferences: []metav1.OwnerReference{object.ControllerRef(d, tables.Deployments.GVK())},
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: new(int32), MinReadySeconds: d.Spec.MinReadySeconds, Selector: selector, Template: d.Spec.Template,
		},
	}
}

func with(l map[string]string, hash string) map[string]string {
	if l == nil {
		l = map[string]string{}
	}
	l[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	return l
}

// annotate keeps the sets' annotations and what else follows the deployment
// without a new template.
func (s *step) annotate(policy rollout.Policy) {
	desired := strconv.Itoa(policy.Desired)
	most := strconv.Itoa(policy.Desired + policy.Surge)
	latest := int64(0)
	for _, rs := range s.sets {
		if rs != s.fresh {
			latest = max(latest, revisionOf(rs))
		}
	}
	for i, rs := range s.sets {
		want := maps.Clone(rs.Annotations)
		if want == nil {
			want = map[string]string{}
		}
		if rs == s.fresh {
			for k, v := range s.d.Annotations {
				if !notCopied[k] {
					want[k] = v
				}
			}
			number(want, revisionOf(rs), latest+1)
		}
		if sizeOf(rs) > 0 || rs == s.fresh {
			want[desiredAnnotation], want[maxAnnotation] = desired, most
		}
		wait := rs == s.fresh && rs.Spec.MinReadySeconds != s.d.Spec.MinReadySeconds
		if maps.Equal(want, rs.Annotations) && !wait {
			continue
		}
		s.change(i, func(next *appsv1.ReplicaSet) {
			next.Annotations = want
			if wait {
				next.Spec.MinReadySeconds = s.d.Spec.MinReadySeconds
				next.Generation++
			}
		})
	}
}

// number gives a set its revision if it is not the newest already, and notes
// those it had before.
func number(annotations map[string]string, had, least int64) {
	if had >= least {
		return
	}
	annotations[revisionAnnotation] = strconv.FormatInt(least, 10)
	if had == 0 {
		return
	}
	old := strconv.FormatInt(had, 10)
	if h := annotations[historyAnnotation]; h != "" {
		old = strings.Join([]string{h, old}, ",")
	}
	annotations[historyAnnotation] = old
}
