// Package namespace keeps what every namespace has (the service account
// default, and the config map kube-root-ca.crt) and takes a namespace that is
// deleted apart (Kubernetes, "Namespaces Walkthrough").
//
// A terminating namespace is emptied pods first, so that nothing runs unguarded
// by the policies that go after them; then every other table that lives in
// namespaces; then the finalizer kubernetes and the row go. What remains is told
// in the namespace's conditions. New objects are refused by the doors, and by the
// loops that create pods, from the first moment.
//
// It is not for owner references (gc).
//
// How to debug: kubectl get ns NAME -o yaml says what is waited for;
// testdata/*.txtar.
package namespace
