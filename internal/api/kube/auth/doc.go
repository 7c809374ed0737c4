// Package auth is the Kubernetes door's half of who asks and who may: it puts
// package access behind the library's authorizer, keeps roles from handing out
// more than their writer has, and answers the reviews (SubjectAccessReview and its
// kin, TokenReview).
//
// It decides nothing itself: rules are access's, tokens account's.
//
// How to debug: `kubectl auth can-i`, `kubectl auth whoami`.
package auth
