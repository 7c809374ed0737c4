package kube

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func statefulSetCells(o runtime.Object) []any {
	s := o.(*appsv1.StatefulSet)
	names, images := containers(&s.Spec.Template.Spec)
	return []any{fmt.Sprintf("%d/%d", s.Status.ReadyReplicas, replicas(s.Spec.Replicas)), age(s), names, images}
}

func daemonSetCells(o runtime.Object) []any {
	d := o.(*appsv1.DaemonSet)
	st := &d.Status
	names, images := containers(&d.Spec.Template.Spec)
	return []any{int64(st.DesiredNumberScheduled), int64(st.CurrentNumberScheduled), int64(st.NumberReady), int64(st.UpdatedNumberScheduled),
		int64(st.NumberAvailable), selector(d.Spec.Template.Spec.NodeSelector), age(d), names, images, metav1.FormatLabelSelector(d.Spec.Selector)}
}

func replicationControllerCells(o runtime.Object) []any {
	rc := o.(*corev1.ReplicationController)
	names, images := "", ""
	if rc.Spec.Template != nil {
		names, images = containers(&rc.Spec.Template.Spec)
	}
	return []any{int64(replicas(rc.Spec.Replicas)), int64(rc.Status.Replicas), int64(rc.Status.ReadyReplicas), age(rc), names, images, selector(rc.Spec.Selector)}
}

func controllerRevisionCells(o runtime.Object) []any {
	r := o.(*appsv1.ControllerRevision)
	owner := "<none>"
	if ref := metav1.GetControllerOfNoCopy(r); ref != nil {
		gv, err := schema.ParseGroupVersion(ref.APIVersion)
		if err == nil {
			owner = strings.ToLower(gv.WithKind(ref.Kind).GroupKind().String()) + "/" + ref.Name
		}
	}
	return []any{owner, r.Revision, age(r)}
}

func podTemplateCells(o runtime.Object) []any {
	t := o.(*corev1.PodTemplate)
	names, images := containers(&t.Template.Spec)
	return []any{names, images, selector(t.Template.Labels)}
}
