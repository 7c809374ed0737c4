#!/bin/bash
# Starts a cluster on this machine, deploys the demo and says how to go on.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$1
[ "$(id -u)" = 0 ] || { echo "error: not root: run sudo make up" >&2; exit 1; }
bin/trireme up --detach --root "$root"
export KUBECONFIG=$root/admin.kubeconfig
bin/trireme kubectl apply -f examples/demo.yaml >&2
bin/trireme kubectl rollout status deployment/demo --timeout=120s >&2
for _ in $(seq 100); do
  answer=$(curl -fsS --max-time 2 http://127.0.0.1:8088/ 2>/dev/null) && break
  sleep 0.1
done
[ -n "${answer:-}" ] || { echo "error: the demo does not answer on port 8088: bin/trireme ps demo, bin/trireme why POD" >&2; exit 1; }
cat <<END

The cluster is up, and the demo answers: $answer

  demo        http://127.0.0.1:8088/
  API         $(bin/trireme kubectl config view --minify -o 'jsonpath={.clusters[0].cluster.server}')
  kubeconfig  $KUBECONFIG

Next:
  bin/trireme ps                             what runs
  bin/trireme scale demo 5                   more of it
  kubectl --kubeconfig $KUBECONFIG get pods  any Kubernetes client works

make down stops it all.
END
