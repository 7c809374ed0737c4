// Package extend serves what users add to the API: custom resources
// (CustomResourceDefinition) and aggregated servers (APIService).
//
// It puts the door between the two servers that Kubernetes puts around its own,
// from its own libraries, over the store's tables:
//
//	aggregator ──► the door's kinds ──► custom resources ──► not found
//	    └──────► servers behind a Service
//
// The libraries' controllers are clients: they call the door in process, and
// live as long as it runs. Definitions, APIServices and custom objects are rows
// like any other (tables.CustomResourceDefinitions, APIServices, CustomObjects);
// garbage collection and the end of a namespace are the control loops' work.
//
// It is not for what is known when the binary is built: that is package kube.
//
// # Order and concurrency
//
// Until every definition that the store holds is served, what is not found
// answers 503 and not 404, so that no client takes a restart for a deletion.
//
// # How to debug
//
// `kubectl get crd NAME -o yaml` and `kubectl get apiservice NAME -o yaml`: their
// conditions say what is wrong; /readyz?verbose names what has not started.
package extend
