// Package admit is the one path that every write from outside takes, whichever
// door it came through: what is filled in, what is refused, what a writer may
// not touch.
//
// It decides and stores nothing. A door asks For the rules of a kind before the
// transaction and calls InTx within it.
package admit

import (
	"fmt"
	"slices"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/object/claim"
	"trireme/internal/object/defaults"
	"trireme/internal/object/mesos"
	"trireme/internal/object/validate"
	"trireme/internal/object/validate/resize"
	"trireme/internal/object/validate/trust"
	"trireme/internal/policy"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Default fills in what the user left out.
func Default(o store.Object) { defaults.Object(o) }

// Validate returns every fault of a new object.
func Validate(o store.Object) field.ErrorList { return validate.Object(o) }

// ValidateMarks refuses that a writer makes a pod a task of a framework, or ends that it is
// one: the pod would be launched before others, and its framework be told of it. old is nil
// for a new object.
func ValidateMarks(next, old store.Object) field.ErrorList {
	p, ok := next.(*corev1.Pod)
	if !ok {
		return nil
	}
	was := ""
	if old != nil {
		was = old.GetLabels()[mesos.FrameworkLabel]
	}
	if p.Labels[mesos.FrameworkLabel] == was {
		return nil
	}
	return field.ErrorList{field.Forbidden(field.NewPath("metadata", "labels").Key(mesos.FrameworkLabel), "tasks are launched by their framework, through the Mesos API: leave the label as it is")}
}

// ValidateUpdate returns every reason why next may not replace old.
func ValidateUpdate(next, old store.Object) field.ErrorList { return validate.Update(next, old) }

// ValidateStatus returns every fault of an object's status.
func ValidateStatus(o store.Object) field.ErrorList { return validate.Status(o) }

// ValidateStatusUpdate returns every fault of next's status, and why it may not follow
// old's.
func ValidateStatusUpdate(next, old store.Object) field.ErrorList {
	return validate.StatusUpdate(next, old)
}

// PrepareCreate clears what only the system writes, and sets what it gives a
// new object.
func PrepareCreate(o store.Object) {
	object.SetUnderReview(o, false)
	switch o := o.(type) {
	case *corev1.Pod:
		defaults.CreatedPod(o)
		return
	case *corev1.Node:
		return // who registers a node says what it has
	case *corev1.Namespace:
		o.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
		if !hasFinalizer(o, corev1.FinalizerKubernetes) {
			o.Spec.Finalizers = append(o.Spec.Finalizers, corev1.FinalizerKubernetes)
		}
		defaults.Namespace(o)
		return
	case *corev1.Secret:
		foldStringData(o)
	case *batchv1.Job:
		defaults.CreatedJob(o)
		return
	case *autoscalingv2.HorizontalPodAutoscaler:
		defaults.HorizontalPodAutoscaler(o) // one that came as v1 has not been
	}
	if status := part(o, "Status"); status.IsValid() {
		status.SetZero()
	}
	switch o := o.(type) {
	case *corev1.PersistentVolume:
		o.Status.Phase = corev1.VolumePending
		protect(o, claim.VolumeProtection)
	case *corev1.PersistentVolumeClaim:
		o.Status.Phase = corev1.ClaimPending
		protect(o, claim.ClaimProtection)
	}
	if r, ok := o.(*resourcev1.DeviceTaintRule); ok && r.Spec.Taint.TimeAdded == nil {
		r.Spec.Taint.TimeAdded = second()
	}
	if counted(o) {
		o.SetGeneration(1)
	}
}

func second() *metav1.Time { return &metav1.Time{Time: time.Now().Truncate(time.Second)} }

// retime notes when the rule's taint began to have its effect (API reference,
// DeviceTaint.timeAdded).
func retime(next, old *resourcev1.DeviceTaint) {
	if next.TimeAdded == nil {
		next.TimeAdded = old.TimeAdded
	}
	if next.Effect != old.Effect && next.TimeAdded.Equal(old.TimeAdded) {
		next.TimeAdded = second()
	}
}

// PrepareUpdate keeps in next what only the system writes, and counts a new
// generation where what the user asked for changed.
func PrepareUpdate(next, old store.Object) {
	object.SetUnderReview(next, false)
	if status := part(next, "Status"); status.IsValid() {
		status.Set(part(old, "Status"))
	}
	switch next := next.(type) {
	case *corev1.Pod:
		if !equality.Semantic.DeepEqual(next.Spec.Tolerations, old.(*corev1.Pod).Spec.Tolerations) {
			defaults.TolerateNodeLoss(&next.Spec) // who writes the list anew does not know of these
		}
	case *corev1.Namespace:
		next.Spec.Finalizers = old.(*corev1.Namespace).Spec.Finalizers
		defaults.Namespace(next)
	case *corev1.Secret:
		foldStringData(next)
	case *autoscalingv2.HorizontalPodAutoscaler:
		defaults.HorizontalPodAutoscaler(next)
	case *resourcev1.DeviceTaintRule:
		retime(&next.Spec.Taint, &old.(*resourcev1.DeviceTaintRule).Spec.Taint)
	case *corev1.Service:
		updateService(next, old.(*corev1.Service))
	}
	if counted(next) {
		next.SetGeneration(generation(old.GetGeneration(), sameAsked(next, old)))
	}
}

// PrepareEphemeral keeps all of a pod as it is stored but for its ephemeral
// containers, which is what pods/ephemeralcontainers writes.
func PrepareEphemeral(next, old *corev1.Pod) {
	containers, managed, version := next.Spec.EphemeralContainers, next.ManagedFields, next.ResourceVersion
	*next = *old.DeepCopy()
	next.Spec.EphemeralContainers, next.ManagedFields, next.ResourceVersion = containers, managed, version
	next.SetGeneration(generation(old.GetGeneration(), sameAsked(next, old)))
}

// ValidateEphemeral checks a write of pods/ephemeralcontainers.
func ValidateEphemeral(next, old *corev1.Pod) field.ErrorList {
	return validate.EphemeralUpdate(next, old)
}

// PrepareResize keeps all of a pod as it is stored but for what its containers ask
// for, which is what pods/resize writes.
func PrepareResize(next, old *corev1.Pod) {
	asked, managed, version := next.Spec, next.ManagedFields, next.ResourceVersion
	*next = *old.DeepCopy()
	next.ManagedFields, next.ResourceVersion = managed, version
	next.Spec.Containers = resized(next.Spec.Containers, asked.Containers)
	next.Spec.InitContainers = resized(next.Spec.InitContainers, asked.InitContainers)
	next.SetGeneration(generation(old.GetGeneration(), sameAsked(next, old)))
}

// resized takes the resources of have from asked, and asked whole where it is of
// other containers: that is refused.
func resized(have, asked []corev1.Container) []corev1.Container {
	if !slices.EqualFunc(have, asked, func(a, b corev1.Container) bool { return a.Name == b.Name }) {
		return asked
	}
	for i := range have {
		have[i].Resources = asked[i].Resources
	}
	return have
}

// ValidateResize checks a write of pods/resize.
func ValidateResize(next, old *corev1.Pod) field.ErrorList { return resize.Update(next, old) }

// PrepareStatus keeps in next everything but its status and what the status's
// writer may change of the metadata.
func PrepareStatus(next, old store.Object) {
	object.SetUnderReview(next, false)
	if spec := part(next, "Spec"); spec.IsValid() {
		spec.Set(part(old, "Spec"))
	}
	if n, ok := next.(*corev1.Node); ok {
		object.AllotExtended(&n.Status, &old.(*corev1.Node).Status)
	}
	next.SetLabels(old.GetLabels())
}

// Complete fills in what the cluster's rules give a new object, or its next
// version: limits, priority, classes. old is nil at creation.
func Complete(r store.Reader, o, old store.Object) error { return policy.Complete(r, o, old) }

// Check returns why the cluster's rules refuse o.
func Check(r store.Reader, o, old store.Object) error { return policy.Check(r, o, old) }

// Security is what the pod security level of its namespace has to say of o.
func Security(r store.Reader, o, old store.Object) policy.Verdict { return policy.Security(r, o, old) }

// Fits returns why quotas would refuse o, for writes that are only tried. gr is
// its resource.
func Fits(r store.Reader, gr schema.GroupResource, o, old store.Object) error {
	_, err := policy.Fits(r, gr, o, old)
	return err
}

// InTx is what every write from outside passes in the transaction that puts it:
// its namespace must be there, and its quotas must have room.
func InTx(tx *store.Tx, gr schema.GroupResource, o, old store.Object) error {
	if err := InNamespace(tx, o, old); err != nil {
		return err
	}
	if err := mayGrow(tx, o, old); err != nil {
		return err
	}
	return policy.Charge(tx, gr, o, old)
}

// InNamespace refuses a creation in a namespace that does not exist or is going
// away.
func InNamespace(r store.Reader, o, old store.Object) error {
	ns := o.GetNamespace()
	if ns == "" || old != nil {
		return nil
	}
	n, ok := tables.Namespaces.Get(r, object.Key{Name: ns})
	switch {
	case !ok:
		return &kind.Error{Kind: kind.NotFound, Object: ns, Field: "metadata.namespace", Err: fmt.Errorf("namespaces %q not found", ns)}
	case n.DeletionTimestamp != nil || n.Status.Phase == corev1.NamespaceTerminating:
		return &kind.Error{Kind: kind.Denied, Object: ns, Field: "metadata.namespace", Err: fmt.Errorf("unable to create new content in namespace %s because it is being terminated", ns)}
	}
	return nil
}

func generation(was int64, same bool) int64 {
	if same {
		return was
	}
	return was + 1
}

func hasFinalizer(n *corev1.Namespace, f corev1.FinalizerName) bool {
	for _, have := range n.Spec.Finalizers {
		if have == f {
			return true
		}
	}
	return false
}

// foldStringData moves the write-only stringData into data (API reference,
// Secret.stringData).
func foldStringData(s *corev1.Secret) {
	if len(s.StringData) > 0 && s.Data == nil {
		s.Data = map[string][]byte{}
	}
	for k, v := range s.StringData {
		s.Data[k] = []byte(v)
	}
	s.StringData = nil
}

// ValidateSigning returns every reason why a decision or a certificate may not
// replace what stands.
func ValidateSigning(next, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	return trust.SigningUpdate(next, old)
}
