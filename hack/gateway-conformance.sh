#!/bin/bash
# Runs the Gateway API's own conformance suite against a cluster that is there:
#
#   KUBECONFIG=admin.kubeconfig hack/gateway-conformance.sh [build|load|run]    nothing: all of them
#
#   NETNS    network namespace of a machine that reaches the nodes; none
#   ROOT     root of a manager of the cluster, for its images
#   SKIP     tests to leave out, a,b,c
#   FEATURES features to test; those that the cluster's GatewayClass names
#
# The suite is built from the module sigs.k8s.io/gateway-api/conformance in a module of its
# own below build/gateway-conformance; so are its backends, which are brought to the
# cluster under the names that the suite asks for. Its DNS server, which only tests of UDP
# ask, is such a backend too. The report is build/gateway-conformance/report.yaml.
set -euo pipefail
cd "$(dirname "$0")/.."
version=v1.6.2
out=$PWD/build/gateway-conformance
export CGO_ENABLED=0
enter=()
[ -z "${NETNS:-}" ] || enter=(nsenter "--net=/run/netns/$NETNS" --)

build() {
  local src suite=sigs.k8s.io/gateway-api/conformance
  mkdir -p "$out/suite" "$out/bin"
  src=$(cd "$out/suite" && GOFLAGS=-mod=mod go mod download -json "$suite@$version" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
  sed -e 's/^module .*/module gatewayconformance/' -e '/^replace/d' -e "s#sigs.k8s.io/gateway-api v0.*#sigs.k8s.io/gateway-api $version#" "$src/go.mod" >"$out/suite/go.mod"
  echo "require $suite $version" >>"$out/suite/go.mod"
  cp "$src/go.sum" "$out/suite/go.sum"
  chmod u+w "$out/suite/go.sum"
  (cd "$out/suite" && go test -p 2 -c -mod=mod -o "$out/bin/conformance.test" "$suite" && go build -p 2 -mod=mod -o "$out/bin/echo-basic" "$suite/echo-basic")
  go build -o build/mkimage ./hack/mkimage
}

load() {
  local image file
  for image in registry.k8s.io/gateway-api/echo-basic:{v1.5.1,v1.6.0-dev.2,v1.6.0-dev.3} registry.k8s.io/coredns/coredns:v1.12.2; do
    file=$out/$(echo "$image" | tr '/:' '__').tar
    build/mkimage -name "$image" -o "$file" -entrypoint /echo-basic "$out/bin/echo-basic=/echo-basic"
    TRIREME_ROOT=$ROOT "${enter[@]}" bin/trireme image push "$file"
  done
}

run() {
  local flags=(-test.v -test.run '^TestConformance$' -kubeconfig "$KUBECONFIG" -gateway-class trireme -conformance-profiles GATEWAY-HTTP,GATEWAY-GRPC,GATEWAY-TLS)
  flags+=(-organization trireme -project trireme -url https://trireme.dev -version dev -contact none -report-output "$out/report.yaml")
  [ -z "${SKIP:-}" ] || flags+=(-skip-tests "$SKIP")
  [ -z "${FEATURES:-}" ] || flags+=(-supported-features "$FEATURES")
  "${enter[@]}" "$out/bin/conformance.test" "${flags[@]}" >"$out/log.txt" 2>&1 || true
  cat "$out/report.yaml"
}

for step in "${@:-build load run}"; do for s in $step; do $s; done; done
