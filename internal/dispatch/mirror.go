package dispatch

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/object/validate"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// mirror makes the rows that stand for a node's static pods what the node says, and
// removes those of pods that it has no more. A row that is being deleted goes, and
// is made again (Kubernetes, "Create static Pods").
func (d *Dispatcher) mirror(ctx context.Context, node string, said *wire.Mirrors) error {
	want := map[object.Key]*corev1.Pod{}
	for _, b := range said.Pods {
		p := &corev1.Pod{}
		if err := p.Unmarshal(b); err != nil {
			return kind.New(kind.Malformed, "decoding a static pod: %w", err)
		}
		if err := mayMirror(p, node); err != nil {
			d.cfg.Log.Warn("refusing a static pod", "node", node, "pod", object.KeyOf(p).String(), "err", err)
			continue
		}
		want[object.KeyOf(p)] = p
	}
	// Two transactions: a row that is replaced is seen to go.
	if _, err := d.store.Update(ctx, func(tx *store.Tx) error {
		for row := range tables.Pods.By(tx, tables.PodsByNode, node) {
			p := row.Object()
			if w := want[row.Key()]; object.MirrorPod(p) && (w == nil || p.DeletionTimestamp != nil || p.Annotations[corev1.MirrorPodAnnotationKey] != w.Annotations[corev1.MirrorPodAnnotationKey]) {
				tables.Pods.Delete(tx, row.Key())
			}
		}
		return nil
	}); err != nil || len(want) == 0 {
		return err
	}
	_, err := d.store.Update(ctx, func(tx *store.Tx) error {
		n, ok := tables.Nodes.Get(tx, object.Key{Name: node})
		if !ok {
			return nil
		}
		for key, p := range want {
			d.putMirror(tx, n, key, p)
		}
		return nil
	})
	return err
}

// putMirror makes the row where it is missing and may be.
func (d *Dispatcher) putMirror(tx *store.Tx, n *corev1.Node, key object.Key, p *corev1.Pod) {
	if old, ok := tables.Pods.Get(tx, key); ok {
		if !object.MirrorPod(old) {
			d.cfg.Log.Warn("a pod has the name of a static one", "node", n.Name, "pod", key.String())
		}
		return
	}
	ns, ok := tables.Namespaces.Get(tx, object.Key{Name: key.Namespace})
	if !ok || ns.DeletionTimestamp != nil {
		d.cfg.Log.Warn("a static pod's namespace is not there", "node", n.Name, "pod", key.String())
		return
	}
	next := p.DeepCopy()
	next.ObjectMeta = metav1.ObjectMeta{
		Namespace: p.Namespace, Name: p.Name, Labels: p.Labels, Annotations: p.Annotations, Generation: 1,
		OwnerReferences: []metav1.OwnerReference{object.ControllerRef(n, corev1.SchemeGroupVersion.WithKind("Node"))},
	}
	no := false
	next.OwnerReferences[0].BlockOwnerDeletion = &no
	next.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: object.QOS(p)}
	tables.Pods.Put(tx, next)
}

// mayMirror returns why a node may not have the row: it stands for one of its own
// static pods and can read nothing of the API's.
func mayMirror(p *corev1.Pod, node string) error {
	switch {
	case !object.MirrorPod(p) || p.Spec.NodeName != node:
		return kind.New(kind.Denied, "it is no static pod of the node")
	case p.Name == "" || p.Namespace == "":
		return kind.New(kind.Invalid, "it has no name or no namespace")
	}
	if err := object.StaticRefers(p); err != nil {
		return kind.New(kind.Denied, "%w", err)
	}
	if errs := validate.PodSpec(&p.Spec, field.NewPath("spec")); len(errs) > 0 {
		return kind.New(kind.Invalid, "%w", errs.ToAggregate())
	}
	return nil
}
