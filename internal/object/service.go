package object

import corev1 "k8s.io/api/core/v1"

// KeepAnnotation of a Service, "true", lets pods see their clients' own addresses
// whichever node a client from outside entered at. externalTrafficPolicy: Local does so
// for nodes that have a pod.
const KeepAnnotation = "trireme.dev/keep-client-address"

// KeepsClients says whether a service's pods see their clients' addresses, also those
// of clients that entered at another node.
func KeepsClients(svc *corev1.Service) bool { return svc.Annotations[KeepAnnotation] == "true" }
