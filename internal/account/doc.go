// Package account makes and checks the tokens of service accounts: JSON web
// tokens with Kubernetes' own claims (Kubernetes, "Managing Service Accounts" and
// "Configure Service Accounts for Pods").
//
// A token says whose it is, for which audiences, until when, and what it is bound
// to: a pod, a node or a secret. It is good as long as its account and what it is
// bound to live: a check reads the tables, so what is deleted ends its tokens.
//
// It is not for what an account may do (access), nor for how a token comes to a
// door (api/kube/auth) or to a pod (dispatch and agent).
//
// # Formats
//
// Tokens are signed with ES256 by the key in <root>/pki/sa.key; its public half is
// the key set that /openid/v1/jwks shows. Secrets of type
// kubernetes.io/service-account-token hold tokens of the older form, without an
// end, which a Keeper writes.
//
// # How to debug
//
// `kubectl create token NAME` makes one; its claims are the middle part, base64;
// `kubectl auth whoami --token T` tells what the check says.
package account
