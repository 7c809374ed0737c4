// Package provider asks programs of the node's operator for what registries want to
// see before they give an image (Kubernetes, "Configure a kubelet image credential
// provider", API credentialprovider.kubelet.k8s.io/v1).
//
//	CredentialProviderConfig ──► which programs, for which images
//	an image that one is for ──► request on its standard input
//	                         ◄── credentials on its standard output, kept as it says
//
// A program that fails gives none: the pull goes on with what there is, and the error
// is told where that does not do. It pulls nothing, and knows no pull secrets.
//
// Providers may be used concurrently; they start no goroutine that outlives a call.
//
// To debug: run the program by hand, with the request as the documentation shows it.
package provider
