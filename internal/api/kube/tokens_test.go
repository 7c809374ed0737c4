package kube_test

import (
	"encoding/json"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// clients returns a client with the administrator's rights, and one that shows
// nothing but a token.
func (d *door) clients(t *testing.T) (admin *kubernetes.Clientset, withToken func(string) *kubernetes.Clientset) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", d.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	make := func(c *rest.Config) *kubernetes.Clientset {
		cs, err := kubernetes.NewForConfig(c)
		if err != nil {
			t.Fatal(err)
		}
		return cs
	}
	return make(config), func(token string) *kubernetes.Clientset {
		c := rest.AnonymousClientConfig(config)
		c.BearerToken = token
		return make(c)
	}
}

// TestServiceAccountTokens asks for tokens, uses them, and takes away what they
// are bound to.
func TestServiceAccountTokens(t *testing.T) {
	d := serve(t)
	d.withRoles(t)
	admin, as := d.clients(t)
	ctx := t.Context()
	sa, err := admin.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{ServiceAccountName: "robot", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	if pod, err = admin.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	token := func(name string, spec authenticationv1.TokenRequestSpec) (string, error) {
		r, err := admin.CoreV1().ServiceAccounts("default").CreateToken(ctx, name, &authenticationv1.TokenRequest{Spec: spec}, metav1.CreateOptions{})
		if err != nil {
			return "", err
		}
		return r.Status.Token, nil
	}
	who := func(token string) (authenticationv1.UserInfo, error) {
		r, err := as(token).AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err != nil {
			return authenticationv1.UserInfo{}, err
		}
		return r.Status.UserInfo, nil
	}
	bound, err := token("robot", authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: "p", UID: pod.UID}})
	if err != nil {
		t.Fatal(err)
	}
	info, err := who(bound)
	if err != nil || info.Username != "system:serviceaccount:default:robot" || info.UID != string(sa.UID) ||
		strings.Join(info.Groups, " ") != "system:serviceaccounts system:serviceaccounts:default system:authenticated" ||
		info.Extra["authentication.kubernetes.io/pod-uid"][0] != string(pod.UID) || !strings.HasPrefix(info.Extra["authentication.kubernetes.io/credential-id"][0], "JTI=") {
		t.Errorf("who: %+v %v", info, err)
	}
	if _, err := as(bound).CoreV1().Pods("default").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("an account without a role lists pods: %v", err)
	}
	for _, c := range []struct {
		name string
		spec authenticationv1.TokenRequestSpec
		is   func(error) bool
	}{
		{"robot", authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(599))}, apierrors.IsInvalid},
		{"nobody", authenticationv1.TokenRequestSpec{}, apierrors.IsNotFound},
		{"robot", authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: "p", UID: "x"}}, apierrors.IsConflict},
		{"robot", authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: "q"}}, apierrors.IsNotFound},
		{"robot", authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Service", Name: "q"}}, apierrors.IsBadRequest},
	} {
		if _, err := token(c.name, c.spec); !c.is(err) {
			t.Errorf("token of %s with %+v: %v", c.name, c.spec, err)
		}
	}
	foreign, err := token("robot", authenticationv1.TokenRequestSpec{Audiences: []string{"vault"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := who(foreign); !apierrors.IsUnauthorized(err) {
		t.Errorf("a token for another audience is taken: %v", err)
	}
	review := func(token string, audiences ...string) authenticationv1.TokenReviewStatus {
		r, err := admin.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: audiences}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return r.Status
	}
	if s := review(foreign, "vault", "x"); !s.Authenticated || s.User.Username != "system:serviceaccount:default:robot" || strings.Join(s.Audiences, " ") != "vault" {
		t.Errorf("review for its audience: %+v", s)
	}
	if s := review(foreign); s.Authenticated || s.Error == "" {
		t.Errorf("review for the API: %+v", s)
	}
	if err := admin.CoreV1().Pods("default").Delete(ctx, "p", metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
		t.Fatal(err)
	}
	if _, err := who(bound); !apierrors.IsUnauthorized(err) {
		t.Errorf("the token of a pod that is gone is taken: %v", err)
	}
	if _, err := who("rubbish"); !apierrors.IsUnauthorized(err) {
		t.Errorf("rubbish is taken: %v", err)
	}
	checkDiscovery(t, as(foreign), as(""))
}

// checkDiscovery reads the provider's pages, which accounts may and others may
// not.
func checkDiscovery(t *testing.T, account, nobody *kubernetes.Clientset) {
	t.Helper()
	// A token for another audience is no token here: the pages need one that is.
	if _, err := account.Discovery().RESTClient().Get().AbsPath("/openid/v1/jwks").DoRaw(t.Context()); !apierrors.IsUnauthorized(err) {
		t.Errorf("key set with a token for another: %v", err)
	}
	if _, err := nobody.Discovery().RESTClient().Get().AbsPath("/openid/v1/jwks").DoRaw(t.Context()); !apierrors.IsForbidden(err) {
		t.Errorf("key set without a token: %v", err)
	}
}

// TestDiscovery reads the pages with which others check tokens.
func TestDiscovery(t *testing.T) {
	d := serve(t)
	d.withRoles(t)
	admin, _ := d.clients(t)
	b, err := admin.Discovery().RESTClient().Get().AbsPath("/.well-known/openid-configuration").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var about map[string]any
	if err := json.Unmarshal(b, &about); err != nil || about["issuer"] != "https://kubernetes.default.svc.cluster.local" ||
		about["jwks_uri"] != "https://kubernetes.default.svc.cluster.local/openid/v1/jwks" {
		t.Errorf("%s: %v", b, err)
	}
	if b, err := admin.Discovery().RESTClient().Get().AbsPath("/openid/v1/jwks").DoRaw(t.Context()); err != nil || !strings.Contains(string(b), `"kty":"EC"`) {
		t.Errorf("%s: %v", b, err)
	}
}

// TestBootstrapToken joins with a token that a secret holds.
func TestBootstrapToken(t *testing.T) {
	d := serve(t)
	d.withRoles(t)
	admin, as := d.clients(t)
	if _, err := admin.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, expiration, usage, want string }{
		{"aaaaaa", "", "true", "system:bootstrap:aaaaaa"},
		{"bbbbbb", "2001-01-01T00:00:00Z", "true", ""},
		{"cccccc", "", "false", ""},
	} {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-" + c.name}, Type: "bootstrap.kubernetes.io/token", StringData: map[string]string{
			"token-id": c.name, "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": c.usage, "auth-extra-groups": "system:bootstrappers:mine",
		}}
		if c.expiration != "" {
			s.StringData["expiration"] = c.expiration
		}
		if _, err := admin.CoreV1().Secrets("kube-system").Create(t.Context(), s, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		r, err := as(c.name+".0123456789abcdef").AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if got := r.Status.UserInfo.Username; got != c.want || (c.want == "") != apierrors.IsUnauthorized(err) {
			t.Errorf("%s: %q %v, want %q", c.name, got, err, c.want)
		}
	}
	if _, err := as("aaaaaa.0123456789abcdee").Discovery().ServerVersion(); !apierrors.IsUnauthorized(err) {
		t.Errorf("a wrong secret: %v", err)
	}
}

// TestTokenVolume looks at what new pods get of their account.
func TestTokenVolume(t *testing.T) {
	d := serve(t)
	admin, _ := d.clients(t)
	no, yes := false, true
	for _, sa := range []*corev1.ServiceAccount{
		{ObjectMeta: metav1.ObjectMeta{Name: "robot"}, ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "shy"}, AutomountServiceAccountToken: &no},
	} {
		if _, err := admin.CoreV1().ServiceAccounts("default").Create(t.Context(), sa, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	mount := []corev1.VolumeMount{{Name: "v", MountPath: "/var/run/secrets/kubernetes.io/serviceaccount"}}
	for _, c := range []struct {
		name, account string
		automount     *bool
		mounts        []corev1.VolumeMount
		want          bool
	}{
		{name: "plain", want: true}, {name: "named", account: "robot", want: true}, {name: "out", account: "robot", automount: &no},
		{name: "account-out", account: "shy"}, {name: "in-again", account: "shy", automount: &yes, want: true},
		{name: "own-mount", account: "robot", mounts: mount},
	} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: c.name}, Spec: corev1.PodSpec{
			ServiceAccountName: c.account, AutomountServiceAccountToken: c.automount,
			Containers: []corev1.Container{{Name: "c", Image: "i", VolumeMounts: c.mounts}},
		}}
		if c.mounts != nil {
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		}
		p, err := admin.CoreV1().Pods("default").Create(t.Context(), p, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got := false
		for _, v := range p.Spec.Volumes {
			if strings.HasPrefix(v.Name, "kube-api-access-") {
				m := p.Spec.Containers[0].VolumeMounts[0]
				got = m.Name == v.Name && m.ReadOnly && len(v.Projected.Sources) == 3 && *v.Projected.Sources[0].ServiceAccountToken.ExpirationSeconds == 3607
			}
		}
		if got != c.want || (c.account == "robot") != (len(p.Spec.ImagePullSecrets) == 1) {
			t.Errorf("%s: token %v, want %v: %+v", c.name, got, c.want, p.Spec)
		}
	}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "lost"}, Spec: corev1.PodSpec{ServiceAccountName: "lost", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	if _, err := admin.CoreV1().Pods("default").Create(t.Context(), p, metav1.CreateOptions{}); !apierrors.IsForbidden(err) ||
		!strings.Contains(err.Error(), `error looking up service account default/lost: serviceaccount "lost" not found`) {
		t.Errorf("an account that is not there: %v", err)
	}
}
