output "gateway_url" {
  description = "Where the gateway is; agents append /mcp."
  value = (
    module.plan.tenants ? aws_api_gateway_stage.this[0].invoke_url :
    var.domain_name != null ? "https://${var.domain_name}" :
    var.cloudfront ? "https://${aws_cloudfront_distribution.this[0].domain_name}" :
    aws_lambda_function_url.this[0].function_url
  )
}

output "function_name" {
  description = "The function."
  value       = aws_lambda_function.this.function_name
}

output "role_arn" {
  description = "What the function may do."
  value       = aws_iam_role.this.arn
}

output "table_name" {
  description = "The table."
  value       = aws_dynamodb_table.this.name
}

output "table_arn" {
  description = "The table, as an export of it is asked for."
  value       = aws_dynamodb_table.this.arn
}

output "key_arn" {
  description = "The key that everything kept is encrypted with."
  value       = aws_kms_key.this.arn
}

output "admin_key_secret" {
  description = "The secret with the admin key."
  value       = aws_secretsmanager_secret.admin_key.arn
}

output "seal_key_secret" {
  description = "The secret with the seal key, for its rotation."
  value       = aws_secretsmanager_secret.seal_key.arn
}

output "secret_prefix" {
  description = "How the names of the servers' secrets begin."
  value       = module.plan.secret_prefix
}

output "log_group_name" {
  description = "The logs."
  value       = aws_cloudwatch_log_group.this.name
}

output "usage_plan_id" {
  description = "The plan that API keys of identities belong to."
  value       = module.plan.tenants ? aws_api_gateway_usage_plan.this[0].id : null
}

output "identity_role_arn" {
  description = "The role that reaches one agent's items."
  value       = var.identity_role ? aws_iam_role.identity[0].arn : null
}
