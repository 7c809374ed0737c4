#!/bin/bash
# Runs Kubernetes' own end-to-end suite against a cluster: by default the specs
# that make up conformance, against a cluster of this tree's binary in network
# namespaces of its own.
#
#   hack/conformance.sh [build|up|run|summary|down]    nothing: all but summary
#
#   FOCUS, SKIP   regular expressions of spec names; '\[Conformance\]', none
#   ONLY          all, failed (last time), missing (never run), todo (not passed yet)
#   PROCS, LIMIT  specs at a time (2), time for each (6m)
#   NODES         machines of the cluster (2; a spec wants two)
#   KUBECONFIG    an existing cluster that has the images; then none is started
#   ROOT          where the cluster keeps its state; it needs a short path
#   NET           prefix of its network namespaces (triconf); another lets two clusters run at once
#   DUAL          1: a cluster of IPv4 and IPv6, for the specs of Feature:IPv6DualStack
#   FLAGS         more flags of `trireme up` and `trireme join`, as --runtime native
#
# The suite is built from the module k8s.io/kubernetes in a module of its own
# below build/conformance; nothing of Trireme imports it. There is no registry to
# pull from: the suite's images are built from its sources and this machine's
# packages, under the names the suite asks for. Results of every spec stay in
# build/conformance/results.json. See docs/conformance.md.
set -euo pipefail
cd "$(dirname "$0")/.."
version=v1.37.2
out=$PWD/build/conformance
root=${ROOT:-/tmp/tri-conf}
nodes=${NODES:-2}
net=${NET:-triconf}
read -ra extra <<<"${FLAGS:-}"
[ -z "${DUAL:-}" ] || extra+=(--pod-cidr 10.128.0.0/10,fd00:10:128::/48 --service-cidr 10.96.0.0/12,fd00:10:96::/112)
export CGO_ENABLED=0
# The suite asks its own version which pods a restricted namespace takes.
stamp=k8s.io/component-base/version
minor=${version#v1.}
flags=(-p 2 -trimpath -buildvcs=false -mod=mod -ldflags "-s -w -X $stamp.gitVersion=$version -X $stamp.gitMajor=1 -X $stamp.gitMinor=${minor%%.*}")

# module writes the throw-away module: the suite's own go.mod with its staging
# folders replaced by the modules published of them.
module() {
  mkdir -p "$out/suite" "$out/bin" "$out/images"
  local src
  src=$(go mod download -json "k8s.io/kubernetes@$version" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
  [ -n "$src" ] || { echo "error: k8s.io/kubernetes@$version cannot be had from the module proxy" >&2; exit 1; }
  [ -f "$out/suite/go.mod" ] && grep -q "kubernetes $version" "$out/suite/go.mod" && return
  sed -e 's/^module .*/module conformance/' -e '/^godebug/d' -e "s#=> ./staging/src/\(k8s.io/[^ ]*\)#=> \1 v0.${version#v1.}#" "$src/go.mod" >"$out/suite/go.mod"
  echo "require k8s.io/kubernetes $version" >>"$out/suite/go.mod"
  cp "$src/go.sum" "$out/suite/go.sum"
  chmod u+w "$out/suite/go.sum"
}

suite_build() { # OUTPUT PACKAGE
  [ -x "$1" ] && [ "$1" -nt "$out/suite/stamp" ] || (cd "$out/suite" && go build "${flags[@]}" -o "$1" "$2")
}

build() {
  make -s build
  module
  [ -f "$out/suite/stamp" ] || touch "$out/suite/stamp"
  if [ ! -x "$out/bin/e2e.test" ]; then
    echo "building the suite (once, some minutes)" >&2
    (cd "$out/suite" && go test -c -vet=off "${flags[@]}" -o "$out/bin/e2e.test" k8s.io/kubernetes/test/e2e)
  fi
  go build -o "$out/bin/conformance" ./hack/conformance
  go build -o "$out/bin/shell" ./hack/conformance/shell
  go build -o build/mkimage ./hack/mkimage
  printf '#!/bin/sh\nexec %s kubectl "$@"\n' "$PWD/bin/trireme" >"$out/bin/kubectl"
  chmod +x "$out/bin/kubectl"
  images
}

# files prints FILE=/PATH for a dynamic program and the libraries it loads.
files() {
  local f
  for f in "$@"; do
    f=$(command -v "$f")
    echo "$(readlink -f "$f")=/usr/bin/$(basename "$f")"
    ldd "$f" | grep -o '/[^ ]*' | while read -r lib; do echo "$lib=$lib"; done
  done | sort -u
}

image() { # NAME mkimage's arguments
  local name=$1 file
  file=$out/images/$(echo "$name" | tr '/:' '__').tar
  shift
  [ -f "$file" ] || build/mkimage -name "$name" -o "$file" "$@"
}

# A busybox shell runs its own nc, whatever lies in PATH, and drops variables that no
# shell could assign: where specs want neither, the image's sh is bash, or chooses.
images() {
  local missing=() e2e=registry.k8s.io/e2e-test-images src=k8s.io/kubernetes/test/images b=$out/bin tools html
  command -v dig >/dev/null || missing+=(bind9-dnsutils)
  [ -x /bin/nc.openbsd ] || missing+=(netcat-openbsd)
  command -v iperf >/dev/null || missing+=(iperf)
  if [ ${#missing[@]} -gt 0 ]; then
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
  fi
  suite_build "$b/agnhost" $src/agnhost
  suite_build "$b/nnp" $src/nonewprivs
  suite_build "$b/regression" $src/regression-issue-74839
  suite_build "$b/sample-apiserver" k8s.io/sample-apiserver
  suite_build "$b/etcd" go.etcd.io/etcd/server/v3
  printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\nuser-defined-in-image:x:1000:1000::/:/bin/sh\n' >"$b/passwd"
  printf 'root:x:0:\nnogroup:x:65534:\nuser-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n' >"$b/group"
  echo 'hosts: files dns' >"$b/nsswitch.conf"
  echo '<html>Welcome to nginx!</html>' >"$b/index.html"
  echo 'NAME="Alpine Linux"' >"$b/os-release" # which a spec looks for in kitten
  mapfile -t bash < <(files bash)
  mapfile -t tools < <(files curl dig nc.openbsd ss iperf bash getent)
  html=$(cd "$out/suite" && go list -mod=mod -m -f '{{.Dir}}' k8s.io/kubernetes)/test/images
  for v in 2.66.1 2.55; do
    image $e2e/agnhost:$v -busybox -entrypoint /agnhost -cmd pause "${tools[@]}" "$b/passwd=/etc/passwd" "$b/group=/etc/group" "$b/nsswitch.conf=/etc/nsswitch.conf" \
      "$(command -v bash)=/bin/sh" /bin/nc.openbsd=/usr/bin/nc "$b/agnhost=/agnhost" "$b/agnhost=/agnhost-2" "$b/index.html=/var/tmp/index.html" \
      "$html/agnhost/porter/localhost.crt=/localhost.crt" "$html/agnhost/porter/localhost.key=/localhost.key"
  done
  image $e2e/busybox:1.37.0-2 -busybox "$b/shell=/bin/sh" "${bash[@]}"
  image $e2e/nonroot:1.5 -busybox -user 1234
  image registry.k8s.io/pause:3.10.2 -entrypoint /pause build/pause=/pause
  for v in 1.27.0-2 1.28.0-2; do # what the specs want of nginx is that something serves on port 80
    image $e2e/nginx:$v -busybox -cmd /agnhost -cmd test-webserver "$b/agnhost=/agnhost" "$b/index.html=/index.html"
  done
  for v in nautilus kitten; do
    image $e2e/$v:1.8 -busybox -entrypoint /agnhost -cmd test-webserver "$b/agnhost=/agnhost" "$html/$v/html/$v.jpg=/$v.jpg" "$html/$v/html/data.json=/data.json" "$b/os-release=/etc/os-release"
  done
  chmod u+s "$b/nnp"
  image $e2e/nonewprivs:1.4 -busybox -cmd nnp "$b/nnp=/bin/nnp"
  image $e2e/regression-issue-74839:1.5 -busybox -entrypoint /regression-issue-74839 "$b/regression=/regression-issue-74839"
  image $e2e/sample-apiserver:1.29.2 -entrypoint /sample-apiserver "$b/sample-apiserver=/sample-apiserver"
  image registry.k8s.io/etcd:3.7.0-0 -busybox "$b/etcd=/usr/local/bin/etcd"
  image $e2e/glibc-dns-testing:2.1.1 -busybox -cmd /bin/sh "${tools[@]}" "$b/nsswitch.conf=/etc/nsswitch.conf"
}

within() { nsenter --net="/run/netns/$net-$1" -- "${@:2}"; }

up() {
  [ "$(id -u)" = 0 ] || { echo "error: not root: the cluster's machines are network namespaces" >&2; exit 1; }
  ip netns add $net
  ip -n $net link add br0 type bridge
  ip -n $net link set br0 up
  local i a
  for i in $(seq 0 $((nodes - 1))); do
    a=192.168.77.$((i + 1))
    ip netns add $net-$i
    ip -n $net-$i link set lo up
    ip -n $net-$i link add eth0 type veth peer name p$i netns $net
    ip -n $net-$i addr add $a/24 dev eth0
    ip -n $net-$i link set eth0 up
    if [ -n "${DUAL:-}" ]; then
      ip -n $net-$i addr add fd77::$((i + 1))/64 dev eth0 nodad
      a=$a,fd77::$((i + 1))
    fi
    ip -n $net link set p$i master br0
    ip -n $net link set p$i up
    ip -n $net-$i route add default via 192.168.77.254
    if [ "$i" = 0 ]; then
      within 0 bin/trireme up --detach --root "$root-0" --node $net-0 --address $a "${extra[@]}" >&2
    else
      TRIREME_TOKEN=$(cat "$root-0/pki/token") within "$i" bin/trireme join --detach --root "$root-$i" --node "$net-$i" --address "$a" "${extra[@]}" 192.168.77.1 >&2
    fi
  done
}

# load brings the images to the nodes, again before each run: a node whose disk
# fills drops those that nobody uses.
load() {
  local f
  # Into the cluster's own registry: some specs pull whatever a node has.
  for f in "$out"/images/*.tar; do
    TRIREME_ROOT=$root-0 within 0 bin/trireme image push "$f" >/dev/null 2>&1 ||
      TRIREME_ROOT=$root-0 within 0 bin/trireme image push "$f" >&2
  done
}

down() {
  local i status=0
  for i in $(seq 9 -1 0); do
    [ ! -d "$root-$i" ] || bin/trireme down --root "$root-$i" >&2 && rm -rf "$root-$i" || status=1
    [ ! -e "/run/netns/$net-$i" ] || ip netns del "$net-$i" || status=1
  done
  [ ! -e /run/netns/$net ] || ip netns del $net || status=1
  return $status
}

run() { # what the runner is given beside
  local enter=()
  if [ -z "${KUBECONFIG:-}" ]; then
    export KUBECONFIG=$root-0/admin.kubeconfig
    enter=(nsenter "--net=/run/netns/$net-0" --)
    [ "$*" = -summary ] || KUBECONFIG='' load
  fi
  "${enter[@]}" "$out/bin/conformance" -suite "$out/bin/e2e.test" -kubectl "$out/bin/kubectl" -out "$out" -procs "${PROCS:-2}" -limit "${LIMIT:-6m}" \
    -focus "${FOCUS:-\\[Conformance\\]}" -skip "${SKIP:-}" -only "${ONLY:-all}" "$@"
}

case ${1:-all} in
build | up | run | down) "$1" ;;
summary) run -summary ;;
all)
  build
  if [ -z "${KUBECONFIG:-}" ]; then
    trap down EXIT
    up
  fi
  run
  ;;
*)
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
  exit 2
  ;;
esac
