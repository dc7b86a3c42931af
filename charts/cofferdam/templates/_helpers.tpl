{{/* Labels of every object of the release. */}}
{{- define "cofferdam.labels" -}}
{{- $own := dict
  "app.kubernetes.io/name" "cofferdam"
  "app.kubernetes.io/instance" .Release.Name
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/part-of" "cofferdam"
  "app.kubernetes.io/managed-by" .Release.Service
  "helm.sh/chart" (printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_")) }}
{{- /* The chart's own win: selectors and the guard stand on them. */}}
{{- toYaml (merge $own .Values.commonLabels) }}
{{- end }}

{{/* Labels of an object that belongs to one role. (dict "role" name "context" $) */}}
{{- define "cofferdam.roleLabels" -}}
{{ include "cofferdam.labels" .context }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{/* Labels that select the pods of a role. (list context role) */}}
{{- define "cofferdam.selector" -}}
app.kubernetes.io/name: cofferdam
app.kubernetes.io/component: {{ . }}
{{- end }}

{{/* Labels of the pods of a role: what selects them, what the release gives all its objects, and the role's own.
     (dict "role" name "context" $) */}}
{{- define "cofferdam.podLabels" -}}
{{- $own := fromYaml (include "cofferdam.selector" .role) }}
{{- $values := index .context.Values .role }}
{{- toYaml (merge $own (dict "app.kubernetes.io/instance" .context.Release.Name) ($values.podLabels | default dict) .context.Values.commonLabels) }}
{{- end }}

{{/* Reference of an image. (dict "image" values "context" $) */}}
{{- define "cofferdam.image" -}}
{{- $registry := .context.Values.global.imageRegistry | default .image.registry -}}
{{- with $registry }}{{ . }}/{{ end -}}
{{ .image.repository }}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag | default .context.Chart.AppVersion }}{{ end }}
{{- end }}

{{/* A security context as the platform takes it: OpenShift gives a pod its user and group by itself, and refuses any
     other. (dict "securityContext" values "context" $) */}}
{{- define "cofferdam.securityContext" -}}
{{- $adapt := .context.Values.global.compatibility.openshift.adaptSecurityContext }}
{{- $openshift := .context.Capabilities.APIVersions.Has "security.openshift.io/v1" }}
{{- if or (eq $adapt "force") (and (eq $adapt "auto") $openshift) }}
{{- toYaml (omit .securityContext "runAsUser" "runAsGroup" "fsGroup") }}
{{- else }}
{{- toYaml .securityContext }}
{{- end }}
{{- end }}

{{/* What the pods of all roles have in common. (dict "role" name "context" $) */}}
{{- define "cofferdam.podSpec" -}}
{{- $values := index .context.Values .role -}}
serviceAccountName: {{ .role }}
enableServiceLinks: false
securityContext: {{- include "cofferdam.securityContext" (dict "securityContext" .context.Values.podSecurityContext "context" .context) | nindent 2 }}
{{- with concat .context.Values.global.imagePullSecrets .context.Values.imagePullSecrets | uniq }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName | default .context.Values.global.priorityClassName }}
priorityClassName: {{ . }}
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
{{- with $values.topologySpreadConstraints }}
topologySpreadConstraints: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What the containers of all roles have in common. (dict "role" name "context" $) */}}
{{- define "cofferdam.container" -}}
{{- $values := index .context.Values .role -}}
name: {{ .role }}
image: {{ include "cofferdam.image" (dict "image" .context.Values.image "context" .context) }}
imagePullPolicy: {{ .context.Values.image.pullPolicy }}
securityContext: {{- include "cofferdam.securityContext" (dict "securityContext" .context.Values.securityContext "context" .context) | nindent 2 }}
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

{{/* Annotations of the pods of a role. (dict "role" name "context" $ "own" dict) */}}
{{- define "cofferdam.podAnnotations" -}}
{{- $values := index .context.Values .role }}
{{- with merge (.own | default dict) $values.podAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Arguments, variables and volumes that values add to those of a role. (dict "role" name "context" $) */}}
{{- define "cofferdam.extraArgs" -}}
{{- range (index .context.Values .role).extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}
{{- define "cofferdam.extraVolumes" -}}
{{- with (index .context.Values .role).extraVolumes }}
{{- toYaml . }}
{{- end }}
{{- end }}
{{- define "cofferdam.extraVolumeMounts" -}}
{{- with (index .context.Values .role).extraVolumeMounts }}
{{- toYaml . }}
{{- end }}
{{- end }}

{{/* Environment of all roles. (dict "role" name "context" $) */}}
{{- define "cofferdam.env" -}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: COFFERDAM_LOG
  value: {{ .context.Values.log | quote }}
{{- with (index .context.Values .role).extraEnv }}
{{ toYaml . }}
{{- end }}
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
