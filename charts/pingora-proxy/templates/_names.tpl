{{/* Names and labels. */}}

{{- define "pingora-proxy.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* 50 characters leave room for what follows the name: "-metrics", "-test". */}}
{{- define "pingora-proxy.fullname" -}}
{{- $name := include "pingora-proxy.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- $name = .Values.fullnameOverride -}}
{{- else if contains $name .Release.Name -}}
{{- $name = .Release.Name -}}
{{- else -}}
{{- $name = printf "%s-%s" .Release.Name $name -}}
{{- end -}}
{{- $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of what belongs to no namespace: releases of one name in two namespaces do not meet. */}}
{{- define "pingora-proxy.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "pingora-proxy.fullname" .) -}}
{{- end -}}

{{- define "pingora-proxy.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "pingora-proxy.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The labels that select the pods; they never change. */}}
{{- define "pingora-proxy.selector" -}}
app.kubernetes.io/name: {{ include "pingora-proxy.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: proxy
{{- end -}}

{{/* The labels of the pods: without versions, so that an upgrade that changes nothing about them rolls none. */}}
{{- define "pingora-proxy.podLabels" -}}
{{- merge (include "pingora-proxy.selector" . | fromYaml) .Values.podLabels .Values.labels | toYaml -}}
{{- end -}}

{{/* The labels of an object, of (dict "root" $ "component" … "labels" its own). The chart's win. */}}
{{- define "pingora-proxy.labels" -}}
{{- $root := .root -}}
{{- $own := dict
  "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63)
  "app.kubernetes.io/name" (include "pingora-proxy.name" $root)
  "app.kubernetes.io/instance" $root.Release.Name
  "app.kubernetes.io/component" (default "proxy" .component)
  "app.kubernetes.io/version" ($root.Chart.AppVersion | trunc 63)
  "app.kubernetes.io/managed-by" $root.Release.Service -}}
{{- merge dict $own (default dict .labels) (default dict $root.Values.labels) | toYaml -}}
{{- end -}}

{{- define "pingora-proxy.image" -}}
{{- with .Values.image -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- if .digest }}@{{ .digest }}{{ end -}}
{{- end -}}
{{- end -}}
