// Package openapi describes every type the Kubernetes door serves: definitions
// that are generated from the comments of k8s.io/api, and Documents, which makes
// the OpenAPI documents of them when somebody asks.
//
// The library makes all documents at the start and keeps them, in three forms:
// 35 MB that most servers are never asked for. Here one is made on demand, one at
// a time, and kept for a minute. Their ETags, by which clients and the aggregator
// cache, are of the binary and the routes, so that they are known without making
// anything and the same after a restart.
//
// How to debug: `kubectl get --raw /openapi/v3` lists the documents.
package openapi

//go:generate go tool openapi-gen --output-dir . --output-pkg trireme/internal/api/kube/openapi --output-file definitions_gen.go --go-header-file header.txt --output-model-name-file "" --report-filename /dev/null k8s.io/api/admissionregistration/v1 k8s.io/api/apps/v1 k8s.io/api/authentication/v1 k8s.io/api/authorization/v1 k8s.io/api/autoscaling/v1 k8s.io/api/batch/v1 k8s.io/api/certificates/v1 k8s.io/api/coordination/v1 k8s.io/api/core/v1 k8s.io/api/discovery/v1 k8s.io/api/events/v1 k8s.io/api/flowcontrol/v1 k8s.io/api/networking/v1 k8s.io/api/node/v1 k8s.io/api/policy/v1 k8s.io/api/rbac/v1 k8s.io/api/resource/v1 k8s.io/api/scheduling/v1 k8s.io/api/scheduling/v1alpha3 k8s.io/api/storage/v1 k8s.io/api/storagemigration/v1 k8s.io/api/autoscaling/v2 k8s.io/metrics/pkg/apis/metrics/v1beta1 k8s.io/apimachinery/pkg/apis/meta/v1 k8s.io/apimachinery/pkg/runtime k8s.io/apimachinery/pkg/version k8s.io/apimachinery/pkg/api/resource k8s.io/apimachinery/pkg/util/intstr
