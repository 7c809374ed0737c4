package volume

import (
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/object/claim"
	"trireme/internal/object/defaults"
	"trireme/internal/orchestrate/reap"
	"trireme/internal/policy"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

// Ephemeral makes the claims of pods' generic ephemeral volumes; a pod owns its
// claims, so that they go with it (Kubernetes, "Ephemeral Volumes").
type Ephemeral struct {
	refused set // pods that were refused a claim
}

// NewEphemeral returns the loop.
func NewEphemeral() *Ephemeral { return &Ephemeral{refused: set{}} }

// The methods of loop.Reconciler.

func (e *Ephemeral) Name() string { return "orchestrate/ephemeralvolumes" }

func (e *Ephemeral) Reads() []store.TableID {
	return []store.TableID{tables.Pods.ID(), tables.PersistentVolumeClaims.ID(), tables.Namespaces.ID(), tables.ResourceQuotas.ID()}
}

func (e *Ephemeral) Writes() []store.TableID {
	return []store.TableID{tables.PersistentVolumeClaims.ID(), tables.ResourceQuotas.ID(), tables.Events.ID()}
}

func (e *Ephemeral) Reconcile(tx *store.Tx) (next time.Time, err error) {
	pods := set{}
	for key := range tables.Pods.Changed(tx) {
		pods[key] = true
	}
	for key := range tables.PersistentVolumeClaims.Changed(tx) {
		if _, ok := tables.PersistentVolumeClaims.Row(tx, key); ok {
			continue
		}
		for row := range tables.Pods.By(tx, tables.PodsByClaim, key.String()) {
			pods[row.Key()] = true
		}
	}
	if tx.FullPass() {
		e.refused = set{}
	}
	for key := range tables.ResourceQuotas.Changed(tx) {
		for pod := range e.refused {
			if pod.Namespace == key.Namespace {
				pods[pod] = true
			}
		}
	}
	for _, key := range pods.sorted() {
		delete(e.refused, key)
		row, ok := tables.Pods.Row(tx, key)
		if !ok || len(row.Indexed(tables.PodsEphemeral)) == 0 || row.Head().Deleting || row.Head().Ended() || reap.Terminating(tx, key.Namespace) {
			continue
		}
		pod := row.Object()
		for i := range pod.Spec.Volumes {
			if v := &pod.Spec.Volumes[i]; v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil {
				e.ensure(tx, pod, v)
			}
		}
	}
	return time.Time{}, nil
}

// ensure makes the claim of one volume, unless it is there.
func (e *Ephemeral) ensure(tx *store.Tx, pod *corev1.Pod, v *corev1.Volume) {
	key := object.Key{Namespace: pod.Namespace, Name: claim.NameFor(pod, v)}
	if have, ok := tables.PersistentVolumeClaims.Get(tx, key); ok {
		if !claim.Owns(pod, have) {
			tell.Once(tx, tables.Pods, pod, tell.Event{
				From: "ephemeral_volume", Type: corev1.EventTypeWarning, Reason: "FailedBinding",
				Message: "PVC " + key.String() + " was not created for pod " + object.KeyOf(pod).String() + " (pod is not owner)",
			})
		}
		return
	}
	t := v.Ephemeral.VolumeClaimTemplate
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: key.Namespace, Name: key.Name, Labels: maps.Clone(t.Labels), Annotations: maps.Clone(t.Annotations),
			OwnerReferences: []metav1.OwnerReference{object.ControllerRef(pod, tables.Pods.GVK())},
			Finalizers:      []string{claim.ClaimProtection},
		},
		Spec: *t.Spec.DeepCopy(),
	}
	defaults.Object(c)
	if err := policy.AllowClaim(tx, c); err != nil {
		e.refused[object.KeyOf(pod)] = true
		tell.Once(tx, tables.Pods, pod, tell.Event{
			From: "ephemeral_volume", Type: corev1.EventTypeWarning, Reason: "FailedBinding",
			Message: "ephemeral volume " + v.Name + ": creating PVC " + key.String() + ": " + err.Error(),
		})
		return
	}
	tables.PersistentVolumeClaims.Put(tx, c)
}
