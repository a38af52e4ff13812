{{- define "songkin.name" -}}
{{- contains .Chart.Name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) | trunc 50 | trimSuffix "-" }}
{{- end }}

{{/* Labels of all objects. */}}
{{- define "songkin.labels" -}}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "songkin.selector" . }}
{{- end }}

{{/* What all pods of a release have in common. */}}
{{- define "songkin.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "songkin.claim" -}}
{{- .Values.persistence.existingClaim | default (printf "%s-data" (include "songkin.name" .)) }}
{{- end }}

{{/* Whether any pod asks for a GPU: "true" or nothing. */}}
{{- define "songkin.gpu" -}}
{{- if or (gt (int .Values.server.gpu) 0) (and .Values.worker.enabled (gt (int .Values.worker.gpu) 0)) }}true{{ end }}
{{- end }}

{{/* A pod's image: a dict of `root` and `gpu`. The program for CUDA does not start where there is no driver. */}}
{{- define "songkin.image" -}}
{{- $gpu := gt (int .gpu) 0 -}}
{{- $image := $gpu | ternary .root.Values.gpu.image .root.Values.image -}}
{{- $repository := $image.repository | default .root.Values.image.repository -}}
{{- if $image.digest }}{{ $repository }}@{{ $image.digest }}
{{- else }}{{ $repository }}:{{ $image.tag | default (printf "%s%s" .root.Chart.AppVersion ($gpu | ternary "-cuda" "")) }}{{ end }}
{{- end }}

{{/* What the pods of server and worker share. */}}
{{- define "songkin.pod" -}}
automountServiceAccountToken: false
{{- /* Kubernetes' own SONGKIN_... variables would be taken for settings. */}}
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
affinity:
  podAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels: {{- include "songkin.selector" . | nindent 12 }}
{{- $gpu := not (empty (include "songkin.gpu" .)) }}
{{- with merge dict .Values.nodeSelector ($gpu | ternary .Values.gpu.nodeSelector dict) }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with concat .Values.tolerations ($gpu | ternary .Values.gpu.tolerations list) }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: data
    persistentVolumeClaim:
      claimName: {{ include "songkin.claim" . }}
  - name: tmp
    emptyDir:
      sizeLimit: 2Gi
  {{- if .Values.music.existingClaim }}
  - name: music
    persistentVolumeClaim:
      claimName: {{ .Values.music.existingClaim }}
      readOnly: true
  {{- end }}
{{- end }}

{{/* How the server is asked whether it is well. */}}
{{- define "songkin.scheme" -}}
{{ hasKey .Values.settings "server.tls_certificate" | ternary "HTTPS" "HTTP" }}
{{- end }}

{{/* What their containers share. */}}
{{- define "songkin.container" -}}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- with .Values.settings }}
env:
  {{- range $key, $value := . }}
  - name: SONGKIN_{{ $key | upper | replace "." "_" }}
    value: {{ $value | toString | quote }}
  {{- end }}
{{- end }}
{{- with .Values.existingSecret }}
envFrom:
  - secretRef:
      name: {{ . }}
{{- end }}
volumeMounts:
  - name: data
    mountPath: /data
  - name: tmp
    mountPath: /tmp
  {{- if .Values.music.existingClaim }}
  - name: music
    mountPath: /music
    readOnly: true
    {{- with .Values.music.subPath }}
    subPath: {{ . }}
    {{- end }}
  {{- end }}
{{- end }}

{{/* Resources with GPUs: a dict of `resources`, `gpu` and `name`. */}}
{{- define "songkin.resources" -}}
{{- $resources := deepCopy .resources }}
{{- if gt (int .gpu) 0 }}
{{- $resources = mergeOverwrite $resources (dict "limits" (dict .name (int .gpu))) }}
{{- end }}
{{- toYaml $resources }}
{{- end }}
