#!/usr/bin/env bash
# The chart on this machine, for whoever has Docker, kind, kubectl and Helm: KubeRay, two toy jobs, the service, one question.
#   cluster/kind.sh            # about 20 GB of disk and 12 GB of memory; `kind delete cluster --name spire-ray` removes all
set -euo pipefail
cd "$(dirname "$0")/.."
OPERATOR=1.5.1

docker build -f cluster/Dockerfile --build-arg BASE=rayproject/ray:2.60.0-py311-cpu \
    --build-arg EXTRAS=train,serve,cpu,quickstart --build-arg COMMIT="$(git rev-parse HEAD)" -t spire-ray:kind .
kind get clusters | grep -qx spire-ray || kind create cluster --name spire-ray
kind load docker-image spire-ray:kind --name spire-ray
kubectl config use-context kind-spire-ray

helm repo add kuberay https://ray-project.github.io/kuberay-helm/
helm upgrade --install kuberay-operator kuberay/kuberay-operator --version "$OPERATOR" \
    --namespace kuberay-operator --create-namespace --wait
helm upgrade --install spire-ray cluster/chart --values cluster/kind.values.yaml --wait --timeout 10m

values="$(mktemp -d)/toy.yaml"
spire cluster render cluster/toy.yaml > "$values"
spire cluster apply cluster/kind.values.yaml "$values" --seconds 10
helm upgrade --install spire-ray cluster/chart --values cluster/kind.values.yaml --values "$values"

until kubectl get service spire-ray-api-serve-svc >/dev/null 2>&1; do sleep 5; done
kubectl port-forward service/spire-ray-api-serve-svc 8000 >/dev/null &
forward=$!
trap 'kill $forward' EXIT
until curl --silent --fail http://localhost:8000/health >/dev/null; do sleep 5; done
curl --fail-with-body http://localhost:8000/v1/audio/transcriptions \
    -F file=@spire_ray/quickstart/demo/test-000000.flac -F model=spire
