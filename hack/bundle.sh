#!/bin/bash
# Builds what bin/trireme carries (containerd, its shim, runc, CNI plugins,
# images) from the modules pinned in tools/go.mod, and packs it into
# internal/bundle/assets. Does nothing where no input has changed.
set -euo pipefail
cd "$(dirname "$0")/.."
out=internal/bundle/assets/bundle.tar.zst
dir=build/bundle
stamp=build/bundle.stamp
mkdir -p build
exec 9>build/bundle.lock
flock 9 # two builds in one tree take turns
inputs() {
  go version
  ls images/*/* cmd/trireme-cni internal/dataplane/plugin cmd/trireme-shim internal/runtime/shim cmd/trireme-tunnel internal/dataplane/tunnel internal/socket
  cat go.mod go.sum
  cat tools/go.mod tools/go.sum hack/bundle.sh hack/mkbundle/*.go hack/mkimage/*.go images/*/* cmd/trireme-cni/*.go internal/dataplane/plugin/*.go \
    cmd/trireme-shim/*.go internal/runtime/shim/*.go cmd/trireme-tunnel/*.go internal/dataplane/tunnel/*.go internal/socket/*.go
}
hash=$(inputs | sha256sum | cut -d' ' -f1)
[ -f "$out" ] && [ -f "${out%.tar.zst}.sha256" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$hash" ] && exit 0

echo "building containerd, runc and the CNI plugins (once, some minutes)" >&2
mkdir -p build "$(dirname "$out")"
rm -rf "$dir.new"
mkdir -p "$dir.new/bin" "$dir.new/cni" "$dir.new/images"
top=$PWD
flags=(-p 2 -trimpath -ldflags '-s -w' -buildvcs=false)
(
  cd tools
  export CGO_ENABLED=0
  containerd=github.com/containerd/containerd/v2/cmd
  cni=github.com/containernetworking/plugins/plugins
  go build "${flags[@]}" -tags 'no_btrfs no_zfs no_devmapper no_tracing netgo osusergo' -o "$top/$dir.new/bin/" \
    $containerd/containerd $containerd/containerd-shim-runc-v2 $containerd/ctr
  go build "${flags[@]}" -o "$top/$dir.new/cni/" $cni/main/loopback $cni/main/bridge $cni/ipam/host-local $cni/meta/portmap
  # runc enters namespaces in C before Go starts, and filters system calls through
  # libseccomp.
  CGO_ENABLED=1 go build -p 2 -trimpath -buildvcs=false -tags 'seccomp netgo osusergo' \
    -ldflags '-s -w -extldflags -static' -o "$top/$dir.new/bin/" github.com/opencontainers/runc
)
export CGO_ENABLED=0
go build "${flags[@]}" -o "$dir.new/cni/trireme-cni" ./cmd/trireme-cni
go build "${flags[@]}" -o "$dir.new/bin/trireme-shim" ./cmd/trireme-shim
go build "${flags[@]}" -o "$dir.new/bin/trireme-tunnel" ./cmd/trireme-tunnel
gcc -Os -static -s -o build/pause images/pause/pause.c
gcc -Os -static -s -o "$dir.new/bin/trireme-init" images/init/init.c
gcc -Os -static -s -o build/host images/host/host.c
go build "${flags[@]}" -o build/web ./images/web
go build -o build/mkimage ./hack/mkimage
build/mkimage -name trireme.local/pause:1 -o "$dir.new/images/pause.tar" -user 65534 -entrypoint /pause build/pause=/pause
build/mkimage -name trireme.local/host:1 -o "$dir.new/images/host.tar" -entrypoint /run-on-host build/host=/run-on-host
for v in 1 2; do
  build/mkimage -name trireme.local/web:$v -o "$dir.new/images/web-$v.tar" -env WEB_VERSION=$v -entrypoint /web build/web=/web
done
rm -rf "$dir"
mv "$dir.new" "$dir"
go run ./hack/mkbundle "$dir" "$out"
echo "$hash" >"$stamp"
echo "$(du -h "$out" | cut -f1) in $out" >&2
