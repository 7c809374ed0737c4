package replicaset

import (
	"cmp"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/orchestrate/reap"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// create makes n pods of the set's template, unless it is refused, and returns
// how many it made.
func (l *Loop) create(tx *store.Tx, rs *appsv1.ReplicaSet, n int) (made int, err error) {
	model := sow.FromTemplate(rs, l.noun.gvk, &rs.Spec.Template)
	model.GenerateName = rs.Name + "-"
	if err := l.rules.Ready(tx, model); err != nil {
		return 0, err
	}
	for made < n {
		pod := *model
		key := object.Key{Namespace: rs.Namespace, Name: tx.NewName(model.GenerateName)}
		for taken(tx, key) {
			key.Name = tx.NewName(model.GenerateName)
		}
		pod.Name = key.Name
		if err := l.rules.Put(tx, &pod); err != nil {
			return made, err
		}
		made++
	}
	return made, nil
}

func taken(tx *store.Tx, key object.Key) bool {
	_, ok := tables.Pods.Row(tx, key)
	return ok
}

// candidate is a pod that may be deleted, as Kubernetes ranks them.
type candidate struct {
	key       object.Key
	head      *tables.PodHead
	neighbors int // pods of the set on the same node
}

// remove deletes the n pods whose loss costs least.
func remove(tx *store.Tx, s *set, n int) {
	var all []candidate
	onNode := map[string]int{}
	for row := range tables.Pods.By(tx, tables.OwnerIndex, string(s.uid)) {
		h := row.Head()
		if h.Owner == s.uid && !h.Deleting && !h.Ended() {
			all = append(all, candidate{key: row.Key(), head: h})
			onNode[h.Node]++
		}
	}
	for i := range all {
		all[i].neighbors = onNode[all[i].head.Node]
	}
	slices.SortFunc(all, cheaper)
	for _, c := range all[:min(n, len(all))] {
		reap.Delete(tx, tables.Pods, c.key, metav1.DeletePropagationBackground)
	}
}

// cheaper orders pods by what their loss costs, the cheapest first (Kubernetes,
// "ReplicaSet", "Scaling a ReplicaSet"): without a node, pending, not ready, low
// deletion cost, crowded on a node, ready for a short time, new. Equal pods go by name,
// so that the same pods give the same choice.
func cheaper(a, b candidate) int {
	return cmp.Or(
		falseFirst(a.head.Node != "", b.head.Node != ""),
		cmp.Compare(phaseRank(a.head.Phase), phaseRank(b.head.Phase)),
		falseFirst(a.head.Ready, b.head.Ready),
		cmp.Compare(a.head.DeletionCost, b.head.DeletionCost),
		cmp.Compare(b.neighbors, a.neighbors),
		b.head.ReadySince.Compare(a.head.ReadySince),
		b.head.Created.Compare(a.head.Created),
		a.key.Compare(b.key),
	)
}

func phaseRank(p corev1.PodPhase) int {
	switch p {
	case corev1.PodRunning:
		return 2
	case corev1.PodUnknown:
		return 1
	}
	return 0
}

func falseFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
