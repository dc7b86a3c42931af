{{/* Labels of every object of the release. */}}
{{- define "cofferdam.labels" -}}
app.kubernetes.io/name: cofferdam
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* Labels that select the pods of a role. (list context role) */}}
{{- define "cofferdam.selector" -}}
app.kubernetes.io/name: cofferdam
app.kubernetes.io/component: {{ . }}
{{- end }}

{{/* Reference of an image. (dict "image" values "context" $) */}}
{{- define "cofferdam.image" -}}
{{- $tag := default .context.Chart.AppVersion .image.tag -}}
{{ .image.repository }}{{ hasPrefix "sha256:" $tag | ternary "@" ":" }}{{ $tag }}
{{- end }}

{{/* What the pods of the three roles have in common. (dict "role" name "context" $) */}}
{{- define "cofferdam.podSpec" -}}
{{- $values := index .context.Values .role -}}
serviceAccountName: {{ .role }}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- with .context.Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What the containers of the three roles have in common. (dict "role" name "context" $) */}}
{{- define "cofferdam.container" -}}
{{- $values := index .context.Values .role -}}
name: {{ .role }}
image: {{ include "cofferdam.image" (dict "image" .context.Values.image "context" .context) }}
imagePullPolicy: {{ .context.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
livenessProbe:
  httpGet: {path: /healthz, port: health}
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /readyz, port: health}
  periodSeconds: 5
  timeoutSeconds: 5
resources: {{- toYaml $values.resources | nindent 2 }}
{{- end }}

{{/* Environment of all three roles. */}}
{{- define "cofferdam.env" -}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: COFFERDAM_LOG
  value: {{ .Values.log | quote }}
{{- end }}

{{/* Where gateway and controller find the archive, and the token by which they show it who they are. */}}
{{- define "cofferdam.archiveURL" -}}
http://cofferdam-archive.{{ .Release.Namespace }}.svc:8080
{{- end }}
{{- define "cofferdam.archiveToken" -}}
- name: archive-token
  projected:
    # Only owner and group of the process read it.
    defaultMode: 0440
    sources:
      - serviceAccountToken: {audience: cofferdam-archive, expirationSeconds: 600, path: archive}
{{- end }}
