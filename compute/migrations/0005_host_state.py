from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('compute', '0004_hosts_in'),
    ]

    operations = [
        migrations.AddField(
            model_name='host',
            name='silent_since',
            field=models.DateTimeField(
                blank=True,
                help_text='It is connected and does not answer: operations wait in their rows.',
                null=True,
            ),
        ),
        migrations.AddIndex(
            model_name='host',
            index=models.Index(fields=['last_seen_at'], name='seen_hosts'),
        ),
    ]
