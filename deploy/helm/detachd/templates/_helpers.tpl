{{- define "detachd.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if not (contains $name .Release.Name) }}
{{- $name = printf "%s-%s" .Release.Name $name }}
{{- else }}
{{- $name = .Release.Name }}
{{- end }}
{{- $name = default $name .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- if not (regexMatch "^[a-z][-a-z0-9]*$" $name) }}
{{- fail (printf "%s cannot be the name of a Service: set fullnameOverride to one of a-z, 0-9 and -, which begins with a letter" $name) }}
{{- end }}
{{- $name }}
{{- end }}

{{- /* What selects pods: never changes for a release. */ -}}
{{- define "detachd.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "detachd.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "detachd.selector" . }}
{{- end }}

{{- /* The configuration file. One number makes the time-out of the worker and the patience of
the kubelet, so that they cannot contradict each other. */ -}}
{{- define "detachd.config" -}}
{{- $timeout := dict "worker" (dict "shutdown_timeout" (printf "%ds" (int .Values.worker.shutdownSeconds))) -}}
{{- toYaml (mergeOverwrite (deepCopy .Values.config) $timeout) }}
{{- end }}

{{- /* The spec of a pod: dict "root" "component" "args", and for what stays "port" "scheme" "values" "grace". */ -}}
{{- define "detachd.pod" -}}
{{- $v := .root.Values -}}
{{- $tls := and (eq .component "server") $v.server.tls.existingSecret -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- with $v.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
{{- with $v.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $v.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .port }}
terminationGracePeriodSeconds: {{ .grace }}
topologySpreadConstraints:
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "detachd.selector" $.root | nindent 8 }}
        app.kubernetes.io/component: {{ $.component }}
    matchLabelKeys: [pod-template-hash]
{{- end }}
{{- else }}
restartPolicy: Never
activeDeadlineSeconds: 300
{{- end }}
containers:
  - name: {{ .component }}
    image: {{ printf "%s@%s" $v.image.repository $v.image.digest | quote }}
    imagePullPolicy: {{ $v.image.pullPolicy }}
    args: {{ toJson .args }}
    env:
      - {name: DETACHD_CONFIG, value: /etc/detachd/config.yaml}
      - {name: GOMEMLIMIT, value: {{ .values.goMemLimit | quote }}}
      {{- with $v.extraEnv }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
    resources: {{- toYaml .values.resources | nindent 6 }}
    {{- if .port }}
    ports:
      - {name: {{ .portName }}, containerPort: {{ .port }}}
    # Only readiness looks at Redis, and nothing at the cloud: a restart helps neither.
    startupProbe:
      httpGet: {path: /healthz, port: {{ .portName }}, scheme: {{ .scheme }}}
      periodSeconds: 2
      timeoutSeconds: 5
      failureThreshold: 30
    livenessProbe:
      httpGet: {path: /healthz, port: {{ .portName }}, scheme: {{ .scheme }}}
      periodSeconds: 10
      timeoutSeconds: 5
      failureThreshold: 6
    readinessProbe:
      httpGet: {path: /readyz, port: {{ .portName }}, scheme: {{ .scheme }}}
      periodSeconds: 5
      timeoutSeconds: 5
      failureThreshold: 2
    {{- end }}
    {{- if eq .component "server" }}
    # Requests still arrive for a moment after the pod began to stop.
    lifecycle: {preStop: {sleep: {seconds: 5}}}
    {{- end }}
    volumeMounts:
      - {name: config, mountPath: /etc/detachd, readOnly: true}
      {{- if $v.existingSecret }}
      - {name: secrets, mountPath: /run/secrets/detachd, readOnly: true}
      {{- end }}
      {{- if $tls }}
      - {name: tls, mountPath: /run/secrets/tls, readOnly: true}
      {{- end }}
      {{- with $v.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  - name: config
    configMap: {name: {{ include "detachd.fullname" .root }}}
  {{- with $v.existingSecret }}
  - name: secrets
    secret: {secretName: {{ . }}, defaultMode: 0440}
  {{- end }}
  {{- if $tls }}
  - name: tls
    secret: {secretName: {{ $tls }}, defaultMode: 0440}
  {{- end }}
  {{- with $v.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- /* A Deployment and its PodDisruptionBudget: the dict of detachd.pod. */ -}}
{{- define "detachd.deployment" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "detachd.fullname" .root }}-{{ .component }}
  labels:
    {{- include "detachd.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  replicas: {{ .values.replicas }}
  strategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  selector:
    matchLabels:
      {{- include "detachd.selector" .root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
  template:
    metadata:
      labels:
        {{- include "detachd.selector" .root | nindent 8 }}
        app.kubernetes.io/component: {{ .component }}
      annotations:
        checksum/config: {{ include "detachd.config" .root | sha256sum }}
        {{- with .root.Values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      {{- include "detachd.pod" . | nindent 6 }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "detachd.fullname" .root }}-{{ .component }}
  labels:
    {{- include "detachd.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  maxUnavailable: 1
  # Pods that are not ready anyway, because Redis is away, must not keep a node from draining.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "detachd.selector" .root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
{{- end }}
