package statefulset

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"trireme/internal/object"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/tables"
	"trireme/internal/tell"
)

// retryAfter is how long a set waits that could not make a pod, unless something
// it looks at changes before.
const retryAfter = 15 * time.Second

func (s *step) podKey(ordinal int) object.Key {
	return object.Key{Namespace: s.key.Namespace, Name: s.key.Name + "-" + strconv.Itoa(ordinal)}
}

// make makes the pod of an ordinal, and the claims it mounts.
func (s *step) make(sl *slot) {
	if tables.Pods.Removed(s.tx, sl.key) {
		s.wake(s.tx.Now()) // the next transaction
		return
	}
	if err := s.tryMake(sl); err != nil {
		s.wake(s.tx.Now().Add(retryAfter))
		tell.Once(s.tx, tables.StatefulSets, s.set, tell.Event{From: teller, Type: corev1.EventTypeWarning, Reason: "FailedCreate",
			Message: fmt.Sprintf("create Pod %s in StatefulSet %s failed error: %v", sl.key.Name, s.key.Name, err)})
	}
}

func (s *step) tryMake(sl *slot) error {
	if row, ok := tables.Pods.Row(s.tx, sl.key); ok {
		return fmt.Errorf("pods %q already exists and is not the set's: its labels do not match or it has another owner (UID %s)", sl.key.Name, row.Head().UID)
	}
	if msgs := validation.IsDNS1123Label(sl.key.Name); len(msgs) > 0 {
		return fmt.Errorf("the pod's name is its host name and cannot be %q: %s; give the set a shorter name", sl.key.Name, strings.Join(msgs, "; "))
	}
	if s.stale(sl) {
		return nil // a claim is on its way out: its end wakes the loop
	}
	pod := s.newPod(sl)
	if err := s.loop.rules.Ready(s.tx, pod); err != nil {
		return err
	}
	if err := s.makeClaims(sl); err != nil {
		return err
	}
	if err := s.loop.rules.Put(s.tx, pod); err != nil {
		return err
	}
	delete(s.loop.failures, sl.key)
	if !object.UnderReview(pod) { // else who lets it through tells
		s.tell(corev1.EventTypeNormal, "SuccessfulCreate", "create Pod "+sl.key.Name+" in StatefulSet "+s.key.Name+" successful")
	}
	if row, ok := tables.Pods.Row(s.tx, sl.key); ok {
		sl.head = row.Head()
		s.keepClaims(sl)
	}
	return nil
}

// newPod returns the pod of an ordinal: of the present template, or below the
// partition of the one before.
func (s *step) newPod(sl *slot) *corev1.Pod {
	revision := s.update
	if s.set.Spec.UpdateStrategy.Type != appsv1.OnDeleteStatefulSetStrategyType && sl.ordinal < s.start()+s.partition() {
		revision = s.current
	}
	pod := sow.FromTemplate(s.set, tables.StatefulSets.GVK(), s.loop.book.Template(revision))
	pod.Name, pod.GenerateName = sl.key.Name, s.key.Name+"-"
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	pod.Labels[appsv1.StatefulSetPodNameLabel] = pod.Name
	pod.Labels[appsv1.PodIndexLabel] = strconv.Itoa(sl.ordinal)
	pod.Labels[appsv1.StatefulSetRevisionLabel] = revision.Name
	sow.Succeed(pod, s.loop.failures[sl.key])
	pod.Spec.Hostname, pod.Spec.Subdomain = pod.Name, s.set.Spec.ServiceName
	for i := range s.set.Spec.VolumeClaimTemplates {
		name := s.set.Spec.VolumeClaimTemplates[i].Name
		pod.Spec.Volumes = slices.DeleteFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == name })
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: s.claimKey(i, sl.ordinal).Name},
		}})
	}
	return pod
}

// keepIdentity gives a pod back the label that names it.
func (s *step) keepIdentity(sl *slot) {
	if sl.head.Labels[appsv1.StatefulSetPodNameLabel] == sl.key.Name {
		return
	}
	pod, ok := tables.Pods.Get(s.tx, sl.key)
	if !ok {
		return
	}
	next := pod.DeepCopy()
	if next.Labels == nil {
		next.Labels = map[string]string{}
	}
	next.Labels[appsv1.StatefulSetPodNameLabel] = sl.key.Name
	tables.Pods.Put(s.tx, next)
	if row, ok := tables.Pods.Row(s.tx, sl.key); ok {
		sl.head = row.Head()
	}
}
