// Package certify answers CertificateSigningRequests as Kubernetes' controller
// manager does: it approves those by which nodes get their certificates, and signs
// what is approved for the signers kubernetes.io/kube-apiserver-client,
// kube-apiserver-client-kubelet and kubelet-serving (Kubernetes, "Certificates and
// Certificate Signing Requests").
//
// It is no control loop because it signs. Old requests are removed by
// orchestrate/certificate; who may approve is access's.
//
// # Tables
//
// Reads and writes certificatesigningrequests, their status only.
//
// # How to debug
//
// `kubectl describe csr NAME`: a request that cannot be signed says why in the
// condition Failed.
package certify
