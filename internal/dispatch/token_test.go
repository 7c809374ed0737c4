package dispatch_test

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/account"
	"trireme/internal/store"
	"trireme/internal/tables"
	"trireme/internal/wire"
)

// TestToken asks, as a node, for tokens of its own pods and of others'.
func TestToken(t *testing.T) {
	m := newManager(t, 4*time.Second)
	seconds := int64(3600)
	put := func(name, node, account string) {
		m.update(func(tx *store.Tx) {
			tables.Pods.Put(tx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name, UID: "uid-" + "x"}, Spec: corev1.PodSpec{
				NodeName: node, ServiceAccountName: account,
				Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
					{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: "vault", ExpirationSeconds: &seconds, Path: "token"}},
				}}}}},
			}})
		})
	}
	m.update(func(tx *store.Tx) {
		tables.ServiceAccounts.Put(tx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "robot"}})
	})
	put("mine", "n1", "robot")
	put("other", "n2", "robot")
	put("lost", "n1", "nobody")
	a := m.agent("n1")
	<-a.got
	m.awaitReady("n1", corev1.ConditionTrue)
	for _, c := range []*struct {
		name string
		r    wire.TokenRequest
		want codes.Code
	}{
		{"its own pod", wire.TokenRequest{Pod: "mine", Audience: "vault", ExpirationSeconds: 3600}, codes.OK},
		{"another's pod", wire.TokenRequest{Pod: "other", Audience: "vault", ExpirationSeconds: 3600}, codes.PermissionDenied},
		{"another audience", wire.TokenRequest{Pod: "mine", ExpirationSeconds: 3600}, codes.PermissionDenied},
		{"an audience that it was granted", wire.TokenRequest{Pod: "mine", Audience: "granted", ExpirationSeconds: 3600}, codes.OK},
		{"longer than granted", wire.TokenRequest{Pod: "mine", Audience: "granted", ExpirationSeconds: 7200}, codes.PermissionDenied},
		{"another account's", wire.TokenRequest{Pod: "lost", Audience: "granted", ExpirationSeconds: 3600}, codes.PermissionDenied},
		{"longer", wire.TokenRequest{Pod: "mine", Audience: "vault", ExpirationSeconds: 360000}, codes.PermissionDenied},
		{"no pod", wire.TokenRequest{Pod: "none", Audience: "vault", ExpirationSeconds: 3600}, codes.PermissionDenied},
		{"no account", wire.TokenRequest{Pod: "lost", Audience: "vault", ExpirationSeconds: 3600}, codes.NotFound},
	} {
		c.r.Namespace, c.r.Uid = "a", "uid-x"
		resp, err := a.Token(t.Context(), &c.r)
		if status.Code(err) != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if c.want != codes.OK || err != nil {
			continue
		}
		id, _, err := account.NewChecker(m.accounts, m.store).Check(resp.Token, []string{c.r.Audience})
		if err != nil || id.Pod.Name != "mine" || id.Node.Name != "n1" || id.Node.UID == "" {
			t.Errorf("the token is %+v: %v", id, err)
		}
	}
}
