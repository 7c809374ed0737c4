// Package openapi holds the OpenAPI definitions of every type the Kubernetes
// door serves, generated from the comments of k8s.io/api. It has no other code.
package openapi

//go:generate go tool openapi-gen --output-dir . --output-pkg trireme/internal/api/kube/openapi --output-file definitions_gen.go --go-header-file header.txt --output-model-name-file "" --report-filename /dev/null k8s.io/api/core/v1 k8s.io/api/apps/v1 k8s.io/api/discovery/v1 k8s.io/api/events/v1 k8s.io/api/autoscaling/v1 k8s.io/api/policy/v1 k8s.io/api/authorization/v1 k8s.io/api/authentication/v1 k8s.io/apimachinery/pkg/apis/meta/v1 k8s.io/apimachinery/pkg/runtime k8s.io/apimachinery/pkg/version k8s.io/apimachinery/pkg/api/resource k8s.io/apimachinery/pkg/util/intstr
