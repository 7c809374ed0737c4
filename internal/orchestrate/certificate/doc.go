// Package certificate removes old CertificateSigningRequests: those that were
// approved, denied or failed an hour ago, and those that nobody decided for a day
// (Kubernetes, csrcleaner); and PodCertificateRequests after a quarter of an hour
// (pcrcleaner): the node has its answer, or asks again.
//
// It is not for answering them (certify).
//
// How to debug: testdata/*.txtar.
package certificate
