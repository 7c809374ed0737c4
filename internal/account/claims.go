package account

import (
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	"k8s.io/apimachinery/pkg/types"
)

// Ref names one object, for good.
type Ref struct {
	Name string    `json:"name"`
	UID  types.UID `json:"uid,omitempty"`
}

// Claims is what a token says.
type Claims struct {
	jwt.Claims
	Kubernetes Bound `json:"kubernetes.io,omitzero"`
}

// Bound is Kubernetes' own part of the claims.
type Bound struct {
	Namespace string `json:"namespace,omitempty"`
	Account   Ref    `json:"serviceaccount,omitzero"`
	Pod       *Ref   `json:"pod,omitempty"`
	Secret    *Ref   `json:"secret,omitempty"`
	Node      *Ref   `json:"node,omitempty"`
}

// legacy are the claims of the tokens that secrets hold.
type legacy struct {
	jwt.Claims
	Namespace  string    `json:"kubernetes.io/serviceaccount/namespace,omitempty"`
	Secret     string    `json:"kubernetes.io/serviceaccount/secret.name,omitempty"`
	Account    string    `json:"kubernetes.io/serviceaccount/service-account.name,omitempty"`
	AccountUID types.UID `json:"kubernetes.io/serviceaccount/service-account.uid,omitempty"`
}

const (
	legacyIssuer  = "kubernetes/serviceaccount"
	subjectPrefix = "system:serviceaccount:"
	// leeway is how far clocks may differ, and how long what a token is bound to may
	// be going away.
	leeway = time.Minute
)
