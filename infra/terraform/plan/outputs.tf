output "tenants" {
  value = local.tenants
}

output "log_group_name" {
  value = local.log_group_name
}

output "secret_prefix" {
  value = local.secret_prefix
}

output "table" {
  value = local.table
}

output "gateway_statements" {
  value = local.gateway_statements
}

output "secrets_statements" {
  value = local.secrets_statements
}

output "connections_statements" {
  value = local.connections_statements
}

output "identity_statements" {
  value = local.identity_statements
}

output "environment" {
  value = local.environment
  # An enrolment is among it.
  sensitive = true
}

output "alarms" {
  value = local.alarms
}
