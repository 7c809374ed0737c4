package whatif

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/object/claim"
	"trireme/internal/object/plan"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// answer reads off the fork what came of it.
func (t *trial) answer() *plan.Status {
	now := t.fork.Snapshot()
	out := &plan.Status{Pods: []plan.Pod{}}
	owners := t.owners()
	mine := map[types.UID]bool{} // controllers, of which some are of what is planned
	for row := range tables.Pods.Rows(now, "") {
		h, key := row.Head(), row.Key()
		switch {
		case h.Ended():
		case !t.world.fresh(key, h.UID):
			if t.ofPlanned(now, row, mine) {
				out.Kept++
			}
		case owners[h.Owner] || t.ofPlanned(now, row, mine):
			out.Pods = append(out.Pods, t.pod(now, row.Object()))
		}
	}
	for row := range tables.Pods.Rows(t.base, "") {
		h := row.Head()
		if h.Node == "" || h.Ended() || h.Deleting {
			continue
		}
		if is, ok := tables.Pods.Row(now, row.Key()); ok && is.Head().UID == h.UID {
			continue
		}
		if t.moved[row.Key()] == h.UID || t.ofPlanned(t.base, row, mine) {
			out.Replaced = append(out.Replaced, t.leaving(row.Object()))
		}
	}
	t.events(now, out)
	for _, b := range t.blocked {
		out.Blocked = append(out.Blocked, b)
	}
	slices.SortFunc(out.Blocked, func(a, b plan.Blocked) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	out.Fits = len(out.Blocked)+len(out.Refused) == 0 && !slices.ContainsFunc(out.Pods, func(p plan.Pod) bool { return p.Node == "" })
	return out
}

// ofPlanned reports whether the pod is one of the objects put, or of one. It decodes no more than one
// pod of each controller, which known remembers.
func (t *trial) ofPlanned(r store.Reader, row store.Row[*corev1.Pod, *tables.PodHead], known map[types.UID]bool) bool {
	h := row.Head()
	if len(t.planned) == 0 || t.planned[h.UID] || h.Owner == "" {
		return t.planned[h.UID]
	}
	is, ok := known[h.Owner]
	if !ok {
		is = t.planned[t.root(r, row.Object()).uid]
		known[h.Owner] = is
	}
	return is
}

// owners returns the controllers of the pods that were moved off nodes.
func (t *trial) owners() map[types.UID]bool {
	owners := map[types.UID]bool{}
	for key := range t.moved {
		if row, ok := tables.Pods.Row(t.base, key); ok && row.Head().Owner != "" {
			owners[row.Head().Owner] = true
		}
	}
	return owners
}

// events reads what loops told meanwhile: whom the scheduler asked to leave, and what was not let in.
func (t *trial) events(now store.Reader, out *plan.Status) {
	for row := range tables.Events.Rows(now, "") {
		if was, ok := tables.Events.Row(t.base, row.Key()); ok && was.Rev() == row.Rev() {
			continue
		}
		e := row.Object()
		about := object.Key{Namespace: e.InvolvedObject.Namespace, Name: e.InvolvedObject.Name}
		switch {
		case e.Reason == "Preempted" && e.InvolvedObject.Kind == "Pod":
			if p, ok := tables.Pods.Get(t.base, about); ok && p.UID == e.InvolvedObject.UID {
				out.Preempted = append(out.Preempted, t.leaving(p))
			}
		case e.Type == corev1.EventTypeWarning && e.Reason == "FailedCreate" && t.planned[t.above(now, e.InvolvedObject.Kind, about, e.InvolvedObject.UID).uid]:
			out.Refused = append(out.Refused, plan.Refused{Ref: plan.Ref{Kind: e.InvolvedObject.Kind, Namespace: about.Namespace, Name: about.Name}, Why: e.Message})
		}
	}
	slices.SortFunc(out.Preempted, func(a, b plan.Leaving) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}

func (t *trial) pod(r store.Reader, p *corev1.Pod) plan.Pod {
	out := plan.Pod{Namespace: p.Namespace, Name: p.Name, Of: t.root(r, p).Ref, Node: p.Spec.NodeName}
	if out.Node != "" {
		return out
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled {
			out.Why = c.Message
		}
	}
	for _, key := range claim.OfPod(p) { // a volume would be made there first
		if c, ok := tables.PersistentVolumeClaims.Get(r, key); ok && c.Annotations[claim.SelectedNode] != "" {
			out.Node, out.Why = c.Annotations[claim.SelectedNode], ""
		}
	}
	return out
}

func (t *trial) leaving(p *corev1.Pod) plan.Leaving {
	return plan.Leaving{
		Namespace: p.Namespace, Name: p.Name, Of: t.root(t.base, p).Ref, Node: p.Spec.NodeName, Lost: metav1.GetControllerOfNoCopy(p) == nil,
	}
}

// named is an object by name and UID.
type named struct {
	plan.Ref
	uid types.UID
}

// root returns what a pod is of in the end: its controller, or the controller of that.
func (t *trial) root(r store.Reader, p *corev1.Pod) named {
	return t.above(r, "Pod", object.KeyOf(p), p.UID)
}

// above follows the controllers of an object to the last.
func (t *trial) above(r store.Reader, kind string, key object.Key, uid types.UID) named {
	at := named{plan.Ref{Kind: kind, Namespace: key.Namespace, Name: key.Name}, uid}
	for range 4 { // a pod's Job's CronJob, and no circle
		var o metav1.Object
		ok := false
		key := object.Key{Namespace: at.Namespace, Name: at.Name}
		switch at.Kind {
		case "Pod":
			o, ok = tables.Pods.Get(r, key)
		case "ReplicaSet":
			o, ok = tables.ReplicaSets.Get(r, key)
		case "Job":
			o, ok = tables.Jobs.Get(r, key)
		}
		if !ok {
			break
		}
		ref := metav1.GetControllerOfNoCopy(o)
		if ref == nil {
			break
		}
		at = named{plan.Ref{Kind: ref.Kind, Namespace: at.Namespace, Name: ref.Name}, ref.UID}
	}
	return at
}
