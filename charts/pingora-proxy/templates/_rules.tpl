{{/* What the controller may do where ProxyServices are served. */}}
{{- define "pingora-proxy.rules" -}}
- apiGroups: [pingora-proxy.dev]
  resources: [proxyservices]
  verbs: [get, list, watch]
- apiGroups: [pingora-proxy.dev]
  resources: [proxyservices/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [configmaps, services]
  verbs: [get, list, watch]
{{- if .Values.rbac.secrets }}
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch]
{{- end }}
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
- apiGroups: [gateway.networking.k8s.io]
  resources: [referencegrants]
  verbs: [get, list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* What it may do beside itself: the election, the acknowledgements, the ports of its own Service. */}}
{{- define "pingora-proxy.ownRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, list, watch, create, update, patch, delete]
{{- if .Values.service.enabled }}
- apiGroups: [""]
  resources: [services]
  resourceNames: [{{ include "pingora-proxy.fullname" . }}]
  verbs: [get, patch]
{{- end }}
{{- end -}}

{{- define "pingora-proxy.subjects" -}}
- kind: ServiceAccount
  name: {{ include "pingora-proxy.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}
