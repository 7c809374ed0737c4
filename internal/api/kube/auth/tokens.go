package auth

import (
	"context"
	"crypto/subtle"
	"fmt"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/token/jwt"
	"k8s.io/apiserver/pkg/authentication/user"

	"trireme/internal/account"
	objectkey "trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// accountTokens takes the tokens of service accounts.
type accountTokens struct{ checker *account.Checker }

// AuthenticateToken implements authenticator.Token.
func (a accountTokens) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	audiences, _ := authenticator.AudiencesFrom(ctx)
	id, ok, err := a.checker.Check(token, audiences)
	if err != nil || !ok {
		return nil, false, err
	}
	info := serviceaccount.ServiceAccountInfo{
		Namespace: id.Namespace, Name: id.Account.Name, UID: string(id.Account.UID), CredentialID: jwt.CredentialIDForJTI(id.ID),
	}
	if id.Pod != nil {
		info.PodName, info.PodUID = id.Pod.Name, string(id.Pod.UID)
	}
	if id.Node != nil {
		info.NodeName, info.NodeUID = id.Node.Name, string(id.Node.UID)
	}
	return &authenticator.Response{User: info.UserInfo(), Audiences: id.Audiences}, true, nil
}

// bootstrapTokens takes the tokens that secrets in kube-system hold for machines
// that join (Kubernetes, "Authenticating with Bootstrap Tokens").
type bootstrapTokens struct {
	store *store.Store
	now   func() time.Time
}

const bootstrapType corev1.SecretType = "bootstrap.kubernetes.io/token"

var (
	bootstrapToken = regexp.MustCompile(`^([a-z0-9]{6})\.([a-z0-9]{16})$`)
	bootstrapGroup = regexp.MustCompile(`^system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]$`)
)

// AuthenticateToken implements authenticator.Token.
func (b bootstrapTokens) AuthenticateToken(_ context.Context, token string) (*authenticator.Response, bool, error) {
	parts := bootstrapToken.FindStringSubmatch(token)
	if parts == nil {
		return nil, false, nil
	}
	key := objectkey.Key{Namespace: metav1.NamespaceSystem, Name: "bootstrap-token-" + parts[1]}
	s, ok := tables.Secrets.Get(b.store.Snapshot(), key)
	if !ok || s.Type != bootstrapType || s.DeletionTimestamp != nil {
		return nil, false, nil
	}
	same := subtle.ConstantTimeCompare(s.Data["token-secret"], []byte(parts[2])) == 1
	if !same || string(s.Data["token-id"]) != parts[1] || string(s.Data["usage-bootstrap-authentication"]) != "true" {
		return nil, false, nil
	}
	if ends := string(s.Data["expiration"]); ends != "" {
		if t, err := time.Parse(time.RFC3339, ends); err != nil || b.now().After(t) {
			return nil, false, fmt.Errorf("the bootstrap token %s has expired at %s", parts[1], ends)
		}
	}
	groups := []string{"system:bootstrappers"}
	for g := range strings.SplitSeq(string(s.Data["auth-extra-groups"]), ",") {
		if g = strings.TrimSpace(g); g == "" {
			continue
		}
		if !bootstrapGroup.MatchString(g) {
			return nil, false, fmt.Errorf("secret %s: auth-extra-groups: %q does not match %s", key, g, bootstrapGroup)
		}
		groups = append(groups, g)
	}
	return &authenticator.Response{User: &user.DefaultInfo{Name: "system:bootstrap:" + parts[1], Groups: groups}}, true, nil
}
