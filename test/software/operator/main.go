// Command operator is a small operator as people write them with
// controller-runtime: it reconciles a custom resource, Site, into a Deployment
// that the Site owns, keeps the Site's status, defaults and refuses Sites in
// webhooks, and elects a leader. The tests run it against a cluster.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

var siteKind = schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Site"}

func main() {
	id := flag.String("id", "", "what this instance calls itself in the events of the election")
	certs := flag.String("certs", "", "folder with tls.crt and tls.key of the webhooks")
	port := flag.Int("webhook-port", 9443, "port of the webhooks")
	flag.Parse()
	ctrl.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	if err := run(*id, *certs, *port); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(id, certs string, port int) error {
	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		LeaderElection: true, LeaderElectionID: "site-operator", LeaderElectionNamespace: "default", LeaderElectionReleaseOnCancel: true,
		Metrics: server.Options{BindAddress: "0"},
		WebhookServer: webhook.NewServer(webhook.Options{
			Port: port, CertDir: filepath.Clean(certs),
		}),
	})
	if err != nil {
		return err
	}
	mgr.GetWebhookServer().Register("/default", &admission.Webhook{Handler: admission.HandlerFunc(setDefaults)})
	mgr.GetWebhookServer().Register("/validate", &admission.Webhook{Handler: admission.HandlerFunc(refuseBad)})
	site := &unstructured.Unstructured{}
	site.SetGroupVersionKind(siteKind)
	err = ctrl.NewControllerManagedBy(mgr).For(site).Owns(&appsv1.Deployment{}).Named("site").
		Complete(&reconciler{mgr.GetClient(), id})
	if err != nil {
		return err
	}
	return mgr.Start(ctrl.SetupSignalHandler())
}

type reconciler struct {
	client.Client
	id string
}

// Reconcile makes a Site's Deployment what the Site asks for.
func (r *reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	site := &unstructured.Unstructured{}
	site.SetGroupVersionKind(siteKind)
	if err := r.Get(ctx, req.NamespacedName, site); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	replicas, _, _ := unstructured.NestedInt64(site.Object, "spec", "replicas")
	image, _, _ := unstructured.NestedString(site.Object, "spec", "image")
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: req.Namespace, Name: req.Name}}
	labels := map[string]string{"site": req.Name}
	if _, err := controllerutil.CreateOrUpdate(ctx, r.Client, d, func() error {
		n := int32(replicas)
		d.Spec.Replicas = &n
		d.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
		d.Spec.Template.Labels = labels
		if len(d.Spec.Template.Spec.Containers) == 0 {
			d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "web"}}
		}
		d.Spec.Template.Spec.Containers[0].Image = image
		return controllerutil.SetControllerReference(site, d, r.Scheme())
	}); err != nil {
		return ctrl.Result{}, err
	}
	before := site.DeepCopy()
	_ = unstructured.SetNestedField(site.Object, int64(d.Status.ReadyReplicas), "status", "ready")
	_ = unstructured.SetNestedField(site.Object, r.id, "status", "by")
	return ctrl.Result{}, r.Status().Patch(ctx, site, client.MergeFrom(before))
}

// setDefaults gives a Site that names no image one.
func setDefaults(_ context.Context, req admission.Request) admission.Response {
	site := &unstructured.Unstructured{}
	if err := site.UnmarshalJSON(req.Object.Raw); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	if image, _, _ := unstructured.NestedString(site.Object, "spec", "image"); image == "" {
		_ = unstructured.SetNestedField(site.Object, "trireme.local/web:1", "spec", "image")
	}
	raw, err := site.MarshalJSON()
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	return admission.PatchResponseFromRaw(req.Object.Raw, raw)
}

// refuseBad refuses a Site of more than five replicas.
func refuseBad(_ context.Context, req admission.Request) admission.Response {
	site := &unstructured.Unstructured{}
	if err := site.UnmarshalJSON(req.Object.Raw); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	if n, _, _ := unstructured.NestedInt64(site.Object, "spec", "replicas"); n > 5 {
		return admission.Denied(fmt.Sprintf("spec.replicas: %d is more than a site may have (5)", n))
	}
	return admission.Allowed("")
}
