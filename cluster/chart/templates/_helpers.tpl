{{- define "spire-ray.name" -}}
{{- if hasPrefix "spire-ray" .Release.Name }}{{ .Release.Name }}{{ else }}spire-ray-{{ .Release.Name }}{{ end }}
{{- end }}

{{- define "spire-ray.labels" -}}
app.kubernetes.io/part-of: spire-ray
app.kubernetes.io/instance: {{ include "spire-ray.name" . }}
{{- end }}

{{- define "spire-ray.image" -}}
{{ .Values.image.repository }}{{ with .Values.image.digest }}@{{ . }}{{ else }}:{{ .Values.image.tag }}{{ end }}
{{- end }}

{{- define "spire-ray.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 100
fsGroup: 100
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "spire-ray.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "spire-ray.env" -}}
- {name: HOME, value: /scratch}
- {name: TMPDIR, value: /tmp}
- {name: PYTHONDONTWRITEBYTECODE, value: "1"}
- {name: SPIRE_CACHE, value: /scratch/cache}
{{- if .Values.storage.claim.name }}
- {name: HF_HOME, value: {{ .Values.storage.mount }}/huggingface}
{{- end }}
{{- with .Values.storage.endpoint }}
- {name: AWS_ENDPOINT_URL, value: {{ . | quote }}}
{{- end }}
{{- if .Values.mlflow.server }}
- {name: MLFLOW_TRACKING_URI, value: "http://{{ include "spire-ray.name" . }}-mlflow:5000"}
{{- else if .Values.mlflow.uri }}
- {name: MLFLOW_TRACKING_URI, value: {{ .Values.mlflow.uri | quote }}}
{{- end }}
- {name: MLFLOW_DISABLE_TELEMETRY, value: "true"}
{{- end }}

{{- define "spire-ray.scratch" -}}
- name: scratch
  {{- if .root.Values.scratch.class }}
  ephemeral:
    volumeClaimTemplate:
      spec:
        accessModes: [ReadWriteOnce]
        storageClassName: {{ .root.Values.scratch.class }}
        resources: {requests: {storage: {{ .size }}}}
  {{- else }}
  emptyDir: {sizeLimit: {{ .size }}}
  {{- end }}
{{- end }}

{{- /* The pod of a head or worker: `root`, `name`, `container`, `size` (cpu, memory, scratch), and perhaps `gpus`, `memoryGb`, `config`. */}}
{{- define "spire-ray.pod" -}}
metadata:
  labels:
    app.kubernetes.io/component: {{ .name }}
    {{- include "spire-ray.labels" .root | nindent 4 }}
spec:
  serviceAccountName: {{ include "spire-ray.name" .root }}
  automountServiceAccountToken: {{ eq .container "ray-head" }}  # the autoscaler's
  terminationGracePeriodSeconds: 120
  securityContext: {{- include "spire-ray.podSecurity" .root | nindent 4 }}
  {{- with .root.Values.image.pullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .size.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .gpus }}
  affinity:
    nodeAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        nodeSelectorTerms:
          - matchExpressions:
              # 7 % below the name of the card: one of 24 GB says 23,028 MiB
              - {key: {{ .root.Values.gpuMemoryLabel }}, operator: Gt, values: ["{{ mulf .size.memoryGb 930 | int }}"]}
  {{- end }}
  {{- if or .gpus .size.tolerations }}
  tolerations:
    {{- if .gpus }}
    - {key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}
    {{- end }}
    {{- with .size.tolerations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
  containers:
    - name: {{ .container }}
      image: {{ .image | default (include "spire-ray.image" .root) }}
      securityContext: {{- include "spire-ray.security" .root | nindent 8 }}
      resources:
        {{- range $kind := list "requests" "limits" }}
        {{ $kind }}:
          cpu: {{ $.size.cpu | quote }}
          memory: {{ $.size.memory }}
          {{- if not $.root.Values.scratch.class }}
          ephemeral-storage: {{ $.size.scratch }}
          {{- end }}
          {{- if $.gpus }}
          nvidia.com/gpu: {{ $.gpus | quote }}
          {{- end }}
        {{- end }}
      ports:
        {{- if eq .container "ray-head" }}
        - {name: gcs-server, containerPort: 6379}
        - {name: dashboard, containerPort: 8265}
        - {name: client, containerPort: 10001}
        {{- end }}
        - {name: serve, containerPort: 8000}
        - {name: metrics, containerPort: 8080}
      env: {{- include "spire-ray.env" .root | nindent 8 }}
      envFrom:
        - secretRef: {name: {{ .root.Values.secret }}, optional: true}
      volumeMounts:
        - {name: scratch, mountPath: /scratch}
        - {name: tmp, mountPath: /tmp}
        - {name: ray-logs, mountPath: /tmp/ray}
        - {name: shm, mountPath: /dev/shm}
        {{- if .root.Values.storage.claim.name }}
        - {name: shared, mountPath: {{ .root.Values.storage.mount }}}
        {{- end }}
        {{- if .config }}
        - {name: config, mountPath: /etc/spire-ray, readOnly: true}
        {{- end }}
    {{- if .root.Values.storage.claim.name }}
    - name: logs
      # what Ray's processes say outlives the pod, below logs/ of the shared volume
      image: {{ .image | default (include "spire-ray.image" .root) }}
      securityContext: {{- include "spire-ray.security" .root | nindent 8 }}
      resources:
        requests: {cpu: 100m, memory: 128Mi, ephemeral-storage: 100Mi}
        limits: {cpu: 100m, memory: 128Mi, ephemeral-storage: 100Mi}
      command: [bash, -c]
      args:
        - |
          kept={{ .root.Values.storage.mount }}/logs/$(hostname)
          keep() { mkdir -p "$kept" && cp -ru /tmp/ray/session_*/logs/. "$kept" 2>/dev/null; }
          trap 'sleep 5; keep; exit 0' TERM
          while true; do sleep 30 & wait $!; keep; done
      volumeMounts:
        - {name: ray-logs, mountPath: /tmp/ray, readOnly: true}
        - {name: shared, mountPath: {{ .root.Values.storage.mount }}}
    {{- end }}
  volumes:
    {{- include "spire-ray.scratch" (dict "root" .root "size" .size.scratch) | nindent 4 }}
    - {name: tmp, emptyDir: {sizeLimit: 10Gi}}
    - {name: ray-logs, emptyDir: {sizeLimit: 10Gi}}
    - {name: shm, emptyDir: {medium: Memory}}  # Ray's objects and NCCL; counts as memory of the pod
    {{- with .root.Values.storage.claim.name }}
    - {name: shared, persistentVolumeClaim: {claimName: {{ . }}}}
    {{- end }}
    {{- with .config }}
    - {name: config, configMap: {name: {{ . }}}}
    {{- end }}
{{- end }}

{{- /* The pool of GPUs that holds a model: `root`, `name` and `gpus` (count, gib, together) → the entry of `gpus`, as JSON. */}}
{{- define "spire-ray.pool" -}}
{{- $found := dict }}
{{- $need := .gpus }}
{{- range .root.Values.gpus }}
  {{- $fits := ge (mulf .memoryGb 930) (mulf $need.gib 1024) }}
  {{- $whole := or (not $need.together) (gt (int .perNode) 1) }}
  {{- $room := ge (mul (int .perNode) (int .max)) (ternary (int $need.count) 1 $need.together) }}
  {{- if and $fits $whole $room (not $found) }}{{ $found = . }}{{ end }}
{{- end }}
{{- if not $found }}
  {{- fail (printf "%s: needs %v GiB on each of %v GPUs%s; no pool of `gpus` has them" .name $need.gib $need.count (ternary " of one machine or more" "" (default false $need.together))) }}
{{- end }}
{{- toJson $found }}
{{- end }}

{{- /* A RayCluster's spec: `root`, `name`, and perhaps `gpus` (one need), `pools` (all of them), `driver`, `config`, `gcs`, `image`. */}}
{{- define "spire-ray.cluster" -}}
{{- $root := .root }}
{{- $name := .name }}
{{- $start := dict "metrics-export-port" "8080" "object-spilling-directory" "/scratch/spill" }}
rayVersion: {{ $root.Values.rayVersion | quote }}
enableInTreeAutoscaling: true
autoscalerOptions:
  version: v2
  idleTimeoutSeconds: 300
  securityContext: {{- include "spire-ray.security" $root | nindent 4 }}
  env: [{name: TMPDIR, value: /tmp/ray}, {name: PYTHONDONTWRITEBYTECODE, value: "1"}]
{{- if $root.Values.auth }}
authOptions: {mode: token}
{{- end }}
{{- with .gcs }}
gcsFaultToleranceOptions: {redisAddress: {{ . | quote }}}
{{- end }}
headGroupSpec:
  rayStartParams: {{- merge (dict "num-cpus" "0") $start | toYaml | nindent 4 }}  # no work beside the control plane
  template: {{- include "spire-ray.pod" (dict "root" $root "name" $name "image" .image "container" "ray-head" "size" $root.Values.pods.head) | nindent 4 }}
workerGroupSpecs:
  {{- if .driver }}
  - groupName: driver
    # drivers of jobs, off the head; always there, since a job waits 15 minutes at most for its driver to start
    replicas: 1
    minReplicas: 1
    maxReplicas: {{ $root.Values.pods.driver.max }}
    rayStartParams: {{- merge (dict "num-cpus" "0" "resources" "\"{\\\"driver\\\": 1}\"") $start | toYaml | nindent 6 }}
    template: {{- include "spire-ray.pod" (dict "root" $root "name" $name "image" .image "container" "ray-worker" "size" $root.Values.pods.driver "config" .config) | nindent 6 }}
  {{- end }}
  - groupName: cpu
    replicas: 0
    minReplicas: 0
    maxReplicas: {{ $root.Values.pods.cpu.max }}
    rayStartParams: {{- toYaml $start | nindent 6 }}
    template: {{- include "spire-ray.pod" (dict "root" $root "name" $name "image" .image "container" "ray-worker" "size" $root.Values.pods.cpu) | nindent 6 }}
  {{- $pools := .pools | default list }}
  {{- if .gpus }}
    {{- $pool := include "spire-ray.pool" . | fromJson }}
    {{- $pods := divf (float64 .gpus.count) (float64 $pool.perNode) | ceil | int }}
    {{- $pools = list (merge (dict "max" (min $pods (int $pool.max))) $pool) }}
  {{- end }}
  {{- $image := .image }}
  {{- range $pools }}
  - groupName: {{ .name }}
    replicas: 0
    minReplicas: 0
    maxReplicas: {{ .max }}
    rayStartParams: {{- toYaml $start | nindent 6 }}
    template: {{- include "spire-ray.pod" (dict "root" $root "name" $name "image" $image "container" "ray-worker" "size" . "gpus" .perNode) | nindent 6 }}
  {{- end }}
{{- end }}
