from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('compute', '0011_live_migration'),
    ]

    operations = [
        migrations.AddField(
            model_name='host',
            name='storage_seen_at',
            field=models.DateTimeField(blank=True, editable=False, help_text='When it was looked at.', null=True),
        ),
        migrations.AddField(
            model_name='host',
            name='storage_since',
            field=models.DateTimeField(blank=True, editable=False, help_text='It was another until then.', null=True),
        ),
    ]
