// Package marathon holds our own kinds of the group marathon.trireme.dev: what a Marathon
// user wrote (Marathon's RAML API) word for word, and how it reads as a pod.
//
//	what                            who writes it
//	App: spec, versions, deployment its user, through the Marathon door or any other
//	App: status                     orchestrate/marathon
//	Group                           its user, through the Marathon door
//	Deployment: spec                the Marathon door
//	Deployment: status              orchestrate/marathon, which also takes away what is done
//	Pods, core Services of an App   orchestrate/marathon
//
// An instance is a Pod; its app and what it was made from are labels. Ids are paths, names
// of objects are ids folded to what Kubernetes takes (Name).
//
// It is pure: what the kinds are, and what can be read from an object alone. What a
// pod cannot be is a Problem that names the field (Validate, Template).
package marathon
