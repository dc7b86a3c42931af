{{/*
Parts of the admission guard. The names repeat src/api/names.rs. CEL has no functions, so what several expressions
share is a template over the name of a variable.
*/}}

{{/* Head of a guard: metadata. (dict "name" suffix "context" $) */}}
{{- define "cofferdam.guard.metadata" -}}
name: cofferdam-guard-{{ .name }}
labels:
  {{- include "cofferdam.labels" .context | nindent 2 }}
  app.kubernetes.io/component: guard
{{- end }}

{{/* The binding that makes a guard deny, everywhere. */}}
{{- define "cofferdam.guard.binding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{- include "cofferdam.guard.metadata" . | nindent 2 }}
spec:
  policyName: cofferdam-guard-{{ .name }}
  validationActions: [Deny]
{{- end }}

{{/* The user that the controller is. */}}
{{- define "cofferdam.guard.controller" -}}
'system:serviceaccount:{{ .Release.Namespace }}:controller'
{{- end }}

{{/* Whether a user is one of Kubernetes' own controllers. Argument: CEL list of names of their ServiceAccounts.
     `system:kube-controller-manager` is all of them at once where they have no accounts of their own. */}}
{{- define "cofferdam.guard.isKubernetes" -}}
(request.userInfo.username == 'system:kube-controller-manager' || {{ . }}.exists(n, request.userInfo.username == 'system:serviceaccount:kube-system:' + n))
{{- end }}

{{/* The name of what is asked for, whatever the operation. `request.name` is empty where a collection is deleted. */}}
{{- define "cofferdam.guard.name" -}}
(request.operation == 'DELETE' ? oldObject.metadata.name : object.metadata.name)
{{- end }}

{{/* Whether metadata, or that of a template, carries a name, label or annotation of ours. Argument: variable. */}}
{{- define "cofferdam.guard.marked" -}}
((has({{ . }}.labels) && {{ . }}.labels.exists(k, k.startsWith('cofferdam.dev/')))
 || (has({{ . }}.annotations) && {{ . }}.annotations.exists(k, k.startsWith('cofferdam.dev/'))))
{{- end }}
{{- define "cofferdam.guard.named" -}}
((has({{ . }}.name) && {{ . }}.name.startsWith('agr-'))
 || (has({{ . }}.generateName) && {{ . }}.generateName.startsWith('agr-')))
{{- end }}

{{/* Whether a pod is one of ours, or claims to be: by name, mark, ServiceAccount or owner. Argument: variable. */}}
{{- define "cofferdam.guard.ourPod" -}}
({{ include "cofferdam.guard.named" (print . ".metadata") }}
 || {{ include "cofferdam.guard.marked" (print . ".metadata") }}
 || (has({{ . }}.spec.serviceAccountName) && {{ . }}.spec.serviceAccountName == 'cofferdam-sandbox')
 || (has({{ . }}.metadata.ownerReferences) && {{ . }}.metadata.ownerReferences.exists(r, r.kind == 'Job' && r.name.startsWith('agr-'))))
{{- end }}

{{/* Whether a Job is one of ours, or claims to be, or would make pods that do. Argument: variable. */}}
{{- define "cofferdam.guard.ourJob" -}}
({{ include "cofferdam.guard.named" (print . ".metadata") }}
 || {{ include "cofferdam.guard.marked" (print . ".metadata") }}
 || (has({{ . }}.spec.template.metadata) && {{ include "cofferdam.guard.marked" (print . ".spec.template.metadata") }})
 || (has({{ . }}.spec.template.spec.serviceAccountName) && {{ . }}.spec.template.spec.serviceAccountName == 'cofferdam-sandbox'))
{{- end }}

{{/* Whether a sandbox pod may carry a label of this key. A NetworkPolicy or Service that asks for any other key leaves
     them out. `app.kubernetes.io/` is not among them: half of all charts select by it. Argument: variable of the key.
     src/controller/fence/carried.rs judges by the same list. */}}
{{- define "cofferdam.guard.carried" -}}
({{ . }} in ['job-name', 'controller-uid']
 || ['cofferdam.dev/', 'batch.kubernetes.io/', 'sidecar.istio.io/', 'linkerd.io/', 'topology.kubernetes.io/', 'kueue.x-k8s.io/'].exists(p, {{ . }}.startsWith(p)))
{{- end }}

{{/* Two optional maps of strings, as variables `labels`, `oldLabels` and so on. Argument: labels or annotations. */}}
{{- define "cofferdam.guard.mapVariables" -}}
- name: {{ . }}
  expression: "has(object.metadata.{{ . }}) ? object.metadata.{{ . }} : {}"
- name: old{{ title . }}
  expression: "oldObject != null && has(oldObject.metadata.{{ . }}) ? oldObject.metadata.{{ . }} : {}"
{{- end }}

{{/* The validation by which a dry run proves a guard live: this name is refused to everybody, the controller too. */}}
{{- define "cofferdam.guard.canary" -}}
- expression: "!has(object.metadata.name) || object.metadata.name != 'agr-guard-canary'"
  message: {{ include "cofferdam.guard.reserved" . | quote }}
{{- end }}

{{/* What is said of the reserved name. */}}
{{- define "cofferdam.guard.reserved" -}}
The name agr-guard-canary is reserved for Cofferdam's self-test: choose another name.
{{- end }}

{{/* Only namespaces that opted in. */}}
{{- define "cofferdam.guard.optedInSelector" -}}
namespaceSelector:
  matchLabels: {cofferdam.dev/sandbox: enabled}
{{- end }}

{{/* Whether the object's namespace opted in, for guards that see other namespaces too. */}}
{{- define "cofferdam.guard.optedIn" -}}
(namespaceObject != null && has(namespaceObject.metadata.labels) && 'cofferdam.dev/sandbox' in namespaceObject.metadata.labels
 && namespaceObject.metadata.labels['cofferdam.dev/sandbox'] == 'enabled')
{{- end }}
