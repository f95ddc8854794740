"""The way of records to Supabase."""
